"""What numba lacks, as LLVM code: vectors, bits, atomics, clocks.

Every kernel imports from here, so this is where numba is pointed at its cache.
"""

from dllama_engine.kernels.cache import use_own_folder

use_own_folder()
