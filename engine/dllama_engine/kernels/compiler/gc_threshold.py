"""A process that does nothing but compile collects garbage (gc) less often."""

from __future__ import annotations

import gc

# numba makes objects by the million and few circles of them. Looked for as often as by default they
# cost a fifth of the compiler's time; never, almost twice its memory, which a small board lacks.
_AFTER = (50_000, 10, 10)


def raise_gc_threshold() -> None:
    """For the rest of this process's life."""
    gc.set_threshold(*_AFTER)
