"""Python's cyclic garbage collection (gc) is off while a process comes up and while a request runs.

It finds next to nothing in what is imported, and no step waits for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """No garbage collection meanwhile, for work that makes no cycles but keeps what it makes.

    A collection looks at every object of the process that is young enough: of a root between two
    tokens that is up to a millisecond, in which all ranks wait.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
