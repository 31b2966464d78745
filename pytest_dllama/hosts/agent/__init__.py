"""What runs on a host: the standard library only."""
