"""How two ranks get a connection that both may trust: reached, heard, proven."""
