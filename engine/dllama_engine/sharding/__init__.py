"""Tensor parallelism: which rank holds which slices, and how much memory that is, closed forms."""
