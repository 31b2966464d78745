"""The monotonic clock, from compiled code: the one that `time.perf_counter_ns` reads on Linux."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer

_CLOCK = np.int32(time.CLOCK_MONOTONIC)
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))


@njit(nogil=True)
def now_ns(scratch: int) -> Any:
    """Nanoseconds; `scratch` is the address of 16 bytes to write to."""
    _clock_gettime(_CLOCK, scratch)
    time_spec = carray(pointer(scratch), (2,), np.int64)
    return time_spec[0] * 1_000_000_000 + time_spec[1]
