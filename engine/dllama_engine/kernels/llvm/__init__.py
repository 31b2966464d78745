"""What numba lacks, as LLVM code: vectors, bits, atomics, clocks."""
