"""Intervals of means and shares; Holm.

Every distribution is scipy's. `confidence` is two-sided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pytest_dllama.stats.errors import DataError, Floats, finite, logs, probability


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence limits, in the unit of the values."""

    value: float
    lower: float
    upper: float


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean.

    Raises:
        DataError: fewer than 2 values, or values that are not finite.
    """
    found = finite(values, "mean interval", at_least=2)
    mean = float(found.mean())
    half = float(t_quantile(confidence, found.size - 1)) * float(stats.sem(found))
    return Interval(mean, mean - half, mean + half)


def geometric_mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The geometric mean with the t interval of the logarithms' mean.

    >>> geometric_mean_interval([2.0, 2.0])
    Interval(value=2.0, lower=2.0, upper=2.0)

    Raises:
        DataError: fewer than 2 values, or one not above 0.
    """
    found = mean_interval(logs(values, "geometric mean", 2), confidence)
    return Interval(math.exp(found.value), math.exp(found.lower), math.exp(found.upper))


def t_quantile(confidence: float, df: float) -> float:
    """How many standard errors a two-sided interval reaches to each side."""
    return float(stats.t.isf((1 - probability(confidence, "confidence")) / 2, df))


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a share (Clopper & Pearson 1934).

    Raises:
        DataError: no trials, or successes outside 0..trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise DataError(f"{successes} successes of {trials} trials: a share needs 0..trials, 1+")
    found = stats.binomtest(successes, trials).proportion_ci(
        probability(confidence, "confidence"), method="exact"
    )
    return Interval(successes / trials, float(found.low), float(found.high))


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p of each of m tests, shape (m,): the error of all together is held (Holm 1979).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Raises:
        DataError: a value outside 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64).ravel()
    if np.any(~((p >= 0) & (p <= 1))):
        raise DataError("Holm: every p must lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
