"""JIT code only: arrays and scalars in, arrays out."""

from engine.kernels.cache import use_own_folder

use_own_folder()
