"""pytest's hooks, piece by piece, and the compatibility with other plugins."""
