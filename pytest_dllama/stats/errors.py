"""What this room raises when numbers cannot be used, and the checks that raise it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class DataError(ValueError):
    """Numbers that the asked-for statistic cannot be computed from."""


def finite(values: ArrayLike, what: str, at_least: int = 1) -> Floats:
    """The values as a float vector, shape (n,).

    Raises:
        DataError: fewer than `at_least` values, or one that is not finite.
    """
    found = np.asarray(values, dtype=np.float64).ravel()
    if found.size < at_least:
        raise DataError(f"{what}: {found.size} values, at least {at_least} are needed")
    wrong = np.flatnonzero(~np.isfinite(found))
    if wrong.size:
        raise DataError(
            f"{what}: value {wrong[0] + 1} of {found.size} is {found[wrong[0]]}; "
            "leave out what was not measured"
        )
    return found


def logs(values: ArrayLike, what: str, at_least: int = 1) -> Floats:
    """Natural logarithms, shape (n,).

    Raises:
        DataError: as `finite`, or a value that is not above zero.
    """
    found = finite(values, what, at_least)
    wrong = np.flatnonzero(found <= 0)
    if wrong.size:
        raise DataError(
            f"{what}: value {wrong[0] + 1} of {found.size} is {found[wrong[0]]:g}; ratios need "
            "values above 0"
        )
    return np.asarray(np.log(found), dtype=np.float64)


def probability(value: float, what: str) -> float:
    """The value itself, if it lies strictly between 0 and 1.

    Raises:
        DataError: it does not.
    """
    if not 0 < value < 1:
        raise DataError(f"{what} is {value:g}; it must lie between 0 and 1, both left out")
    return value


def same_length(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> None:
    """Check that values of two sides can be paired.

    Raises:
        DataError: the counts differ.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} values of base and {len(second)} of new: no pairs")
