"""What A/A pairs say about a series: how noisy it is, and what that lets one find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pytest_dllama.stats.errors import finite, probability
from pytest_dllama.stats.intervals import Interval
from pytest_dllama.stats.paired import moderated
from pytest_dllama.stats.power import POWER, detectable_change
from pytest_dllama.stats.prior import VariancePrior

SHOWN_PAIRS = (3, 5, 10)


@dataclass(frozen=True, slots=True)
class PairNoise:
    """The noise of one cell's metric."""

    pairs: int
    sd: Interval  # of a pair, ln, with its chi-square interval
    detectable: Mapping[int, float]  # pairs -> relative change found with 90 % power
    lag1: float | None  # correlation of neighbouring pairs; None where it cannot be told


def pair_noise(
    differences: ArrayLike,
    theta: float,
    prior: VariancePrior | None = None,
    level: float = 0.05,
    power: float = POWER,
) -> PairNoise:
    """Noise of A/A pairs in the order they ran; `level` is that of one look.

    Raises:
        DataError: fewer than 2 pairs, or a difference that is not finite.
    """
    d = finite(differences, "A/A pairs", at_least=2)
    variance = float(d.var(ddof=1))
    s_squared, _ = moderated(variance, d.size - 1, prior)
    detectable = {
        n: detectable_change(n, math.sqrt(s_squared), theta, prior, level, power)
        for n in SHOWN_PAIRS
    }
    return PairNoise(d.size, sd_interval(variance, d.size - 1), detectable, lag1_correlation(d))


def sd_interval(variance: float, df: int, confidence: float = 0.95) -> Interval:
    """A standard deviation with the chi-square interval of normal values."""
    tail = (1 - probability(confidence, "confidence")) / 2
    squares = df * variance
    low, high = stats.chi2.isf(tail, df), stats.chi2.ppf(tail, df)
    return Interval(math.sqrt(variance), math.sqrt(squares / low), math.sqrt(squares / high))


def lag1_correlation(values: ArrayLike) -> float | None:
    """Correlation of each value with the one before; None under 4 values or without variance.

    Raises:
        DataError: a value that is not finite.
    """
    found = finite(values, "series", at_least=0)
    if found.size < 4 or np.ptp(found) == 0:
        return None
    centred = found - found.mean()
    return float((centred[1:] @ centred[:-1]) / (centred @ centred))
