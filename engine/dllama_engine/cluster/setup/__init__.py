"""A session before its first forward pass: who joins it, by which ways, with all that it needs."""
