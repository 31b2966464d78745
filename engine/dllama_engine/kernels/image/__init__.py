"""Kernels as machine code that needs no compiler: kept, verified, mapped into ranks."""
