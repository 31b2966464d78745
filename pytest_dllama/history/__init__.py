"""Run files, and what may be read from many of them."""
