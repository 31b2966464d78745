"""On which cores the calling thread may run, and how late it may be woken."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_PR_SET_TIMERSLACK = 29


@contextmanager
def kept_on(cores: Sequence[int]) -> Iterator[None]:
    """Keep the calling thread, and those that it starts inside, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wake_on_time() -> None:
    """Let this thread, and those it starts, be woken to the nanosecond; no more where it cannot.

    The kernel wakes a thread up to 50 us after its time unless the thread says otherwise.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
