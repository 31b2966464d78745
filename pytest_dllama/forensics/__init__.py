"""Old logs to the same run file."""
