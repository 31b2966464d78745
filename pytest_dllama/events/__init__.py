"""What an engine tells: the stream, and a request's trace."""
