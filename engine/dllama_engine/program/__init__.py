"""Matrices, and the list of operations that a forward pass is."""
