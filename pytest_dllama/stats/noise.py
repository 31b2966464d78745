"""What A/A runs say about a series: how noisy it is, what that lets one find, whose noise it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pytest_dllama.stats.errors import DataError, finite, probability
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


@dataclass(frozen=True, slots=True)
class GenerationNoise:
    """What restarting workers adds to the variance of a pair or a session."""

    generations: int
    within_variance: float  # while the same workers live
    between_variance: float  # from one generation of workers to the next; 0 or more
    p: float  # of "generations add nothing" (F test)
    share_upper: float  # upper bound of between / (between + within)

    def may_live_on(self, share: float = 0.1) -> bool:
        """Whether generations surely add less than this share, so that pairs may reuse workers."""
        return self.share_upper < share


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


def generation_noise(
    generations: Sequence[Sequence[float]], confidence: float = 0.95
) -> GenerationNoise:
    """Components of variance of values, in ln, grouped by the generation of workers they ran on.

    One-way random effects: E(MS between) = within + n0 between, n0 the usual mean of group sizes;
    the bound of the share from the F distribution (Searle, Casella & McCulloch 1992, 3.6). Exact
    for groups of one size.

    Raises:
        DataError: fewer than 2 generations, or none with 2 values.
    """
    groups = [finite(values, f"generation {i}") for i, values in enumerate(generations, 1)]
    sizes = np.array([group.size for group in groups], dtype=np.float64)
    between_df, within_df = len(groups) - 1, int(sizes.sum()) - len(groups)
    if between_df < 1 or within_df < 1:
        raise DataError(
            f"{len(groups)} generations with {int(sizes.sum())} values: two generations are "
            "needed, and one of two values"
        )
    everything = np.concatenate(groups)
    means = np.array([group.mean() for group in groups])
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / within_df
    between = float((sizes * (means - everything.mean()) ** 2).sum()) / between_df
    n0 = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / between_df
    ratio = _ratio(between, within)
    least_f = stats.f.ppf(1 - probability(confidence, "confidence"), between_df, within_df)
    upper = max((ratio / least_f - 1) / n0, 0.0)
    return GenerationNoise(
        generations=len(groups),
        within_variance=within,
        between_variance=max(between - within, 0.0) / float(n0),
        p=float(stats.f.sf(ratio, between_df, within_df)),
        share_upper=float(upper / (1 + upper)) if math.isfinite(upper) else 1.0,
    )


def _ratio(between: float, within: float) -> float:
    if within > 0:
        return between / within
    return math.inf if between > 0 else 1.0  # no noise at all: nothing speaks against F = 1
