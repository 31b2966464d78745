"""JIT code only: arrays and scalars in, arrays out."""

from dllama_engine.kernels.cache import use_own_folder

use_own_folder()
