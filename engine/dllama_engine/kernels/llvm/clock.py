"""The monotonic clock, from compiled code: the one that `time.perf_counter_ns` reads on Linux."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.cpu import machine
from dllama_engine.kernels.llvm.atomics import pointer

_CLOCK = np.int32(time.CLOCK_MONOTONIC)
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_MACHINE = machine()
_HAS_SLEEP = sys.platform.startswith("linux") and _MACHINE in ("x86_64", "aarch64")
_SYS_CLOCK_NANOSLEEP = 230 if _MACHINE == "x86_64" else 115
_UNTIL = 1  # TIMER_ABSTIME
_syscall: Any = types.ExternalFunction(
    "syscall",
    types.int64(*[types.int64] * 7),  # number and six arguments
)
_usleep: Any = types.ExternalFunction("usleep", types.int32(types.uint32))


@njit(nogil=True)
def now_ns(scratch: int) -> Any:
    """Nanoseconds; `scratch` is the address of 16 bytes to write to."""
    _clock_gettime(_CLOCK, scratch)
    time_spec = carray(pointer(scratch), (2,), np.int64)
    return time_spec[0] * 1_000_000_000 + time_spec[1]


@njit(nogil=True)
def sleep_until(scratch: int, at_ns: int) -> None:
    """Give the core away until then; may return early. `scratch` is as of `now_ns`."""
    if _HAS_SLEEP:
        time_spec = carray(pointer(scratch), (2,), np.int64)
        time_spec[0], time_spec[1] = at_ns // 1_000_000_000, at_ns % 1_000_000_000
        _syscall(_SYS_CLOCK_NANOSLEEP, _CLOCK, _UNTIL, scratch, 0, 0, 0)
    else:
        _usleep(max(0, at_ns - now_ns(scratch)) // 1000)
