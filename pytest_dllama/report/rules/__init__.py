"""When to say which sentence."""
