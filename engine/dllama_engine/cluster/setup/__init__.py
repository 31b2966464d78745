"""A session before its first forward pass: rendezvous, admission, warm-up, weight loading."""
