"""From bounds to a verdict: the one table of docs/statistics.md, for one cell or for many."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_dllama.stats.errors import DataError


class Decision(StrEnum):
    """What the bounds of an effect say about a tolerated change."""

    REGRESSED = "REGRESSED"  # surely worse than tolerated
    INCONCLUSIVE = "INCONCLUSIVE"  # more pairs, or the answer after the last look
    IMPROVED = "IMPROVED"  # surely better by more than the tolerated change
    PASS = "PASS"  # surely not worse than tolerated


class Bounded(Protocol):
    """An effect in ln with one-sided bounds, plus is worse."""

    @property
    def lower(self) -> float:
        """The lower bound."""

    @property
    def upper(self) -> float:
        """The upper bound."""


def theta_of(tolerance: float) -> float:
    """theta = ln(1 + delta) of a tolerated relative change; 0.05 is 5 %.

    Raises:
        DataError: a tolerance below 0, or not finite.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise DataError(f"tolerated change {tolerance:g}: it must be 0 or more (0.05 is 5 %)")
    return math.log1p(tolerance)


def decide(effect: Bounded, theta: float) -> Decision:
    """The verdict of one metric of one cell.

    Raises:
        DataError: bounds that are no numbers, or a theta below 0.
    """
    if math.isnan(effect.lower) or math.isnan(effect.upper):
        raise DataError("bounds that are no numbers cannot be judged")
    return Decision(str(decisions(effect.lower, effect.upper, theta)))


def decisions(lower: ArrayLike, upper: ArrayLike, theta: float) -> NDArray[np.str_]:
    """The verdict of every pair of bounds, in their shape.

    >>> decisions([0.06, -0.01, -0.2, 0.01], [0.2, 0.04, -0.06, 0.1], 0.05).tolist()
    ['REGRESSED', 'PASS', 'IMPROVED', 'INCONCLUSIVE']

    Raises:
        DataError: a theta below 0.
    """
    if not theta >= 0:
        raise DataError(f"theta {theta:g}: a tolerated change of 0 or more is needed")
    low, high = np.asarray(lower), np.asarray(upper)
    return np.select(
        [low > theta, high < -theta, high < theta],
        [Decision.REGRESSED.value, Decision.IMPROVED.value, Decision.PASS.value],
        Decision.INCONCLUSIVE.value,
    )
