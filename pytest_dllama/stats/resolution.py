"""What a clock can tell: the grid that all its readings lie on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pytest_dllama.stats.errors import finite

FINEST = 1e-6  # of the coarsest: below that nobody asks
_ROUNDING = 1e-4  # of a step of the grid: what floating point does to whole multiples


def clock_grid(readings: ArrayLike, coarsest: float) -> float:
    """The coarsest decimal grid, `coarsest` at most, that all readings are whole multiples of.

    A clock of nanoseconds lies on 1 ms once in 10^6 readings; one that prints whole ms always.
    0 below `FINEST`: finer than matters.

    >>> clock_grid([12.0, 15.0], 1.0)
    1.0
    >>> clock_grid([12.3, 15.0], 1.0)
    0.1

    Raises:
        DataError: no reading, or one that is not finite.
    """
    values = finite(readings, "readings of a clock")
    grid = coarsest
    while grid >= coarsest * FINEST:
        steps = values / grid
        if np.all(np.abs(steps - np.round(steps)) <= _ROUNDING):
            return float(f"{grid:.12g}")
        grid /= 10
    return 0.0
