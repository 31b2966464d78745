"""Makes images of machine code, in a process of its own: numba, objects, one stretch of code."""
