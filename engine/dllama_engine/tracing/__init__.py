"""A trace of all ranks as a file: what it holds, and where it goes."""
