"""On which cores the calling thread may run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def kept_on(cores: Sequence[int]) -> Iterator[None]:
    """Keep the calling thread, and those that it starts inside, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
