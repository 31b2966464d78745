"""One machine behind SSH."""
