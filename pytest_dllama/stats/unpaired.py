"""Against values that cannot be measured again: weaker than pairs, and never sure of the night.

`against_stored` judges a new run against a stored one; `welch` fills comparison tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import stats

from pytest_dllama.stats.errors import Floats, finite, logs, probability
from pytest_dllama.stats.intervals import Interval
from pytest_dllama.stats.paired import bounds, moderated
from pytest_dllama.stats.prior import VariancePrior

MIN_NIGHTS = 10  # before nights are said to have a standard deviation


@dataclass(frozen=True, slots=True)
class NightNoise:
    """How much a cell moves from night to night with nothing changed, in ln."""

    sd: float
    nights: int


@dataclass(frozen=True, slots=True)
class UnpairedEffect:
    """New against a stored run, in ln, plus is worse; bounds are infinite without `night`."""

    n_new: int
    n_stored: int
    mean: float
    error: float  # standard error; infinite without an estimate of the nights
    df: float
    level: float
    lower: float
    upper: float
    night: NightNoise | None

    @property
    def change(self) -> float:
        """The relative change, plus is worse; 0.05 is 5 %."""
        return math.expm1(self.mean)


@dataclass(frozen=True, slots=True)
class WelchTest:
    """Two independent samples of unequal variance."""

    ratio: Interval  # of geometric means, new / base
    p: float  # two-sided
    df: float


def night_noise(night_values: ArrayLike) -> NightNoise | None:
    """Standard deviation of one quiet level's nightly values; None under 10 nights.

    `night_values` are ln medians of nights between accepted changes, so what sessions themselves
    scatter is in it: an estimate on the careful side.

    Raises:
        DataError: a value that is not finite.
    """
    found = finite(night_values, "nights", at_least=0)
    if found.size < MIN_NIGHTS:
        return None
    return NightNoise(float(found.std(ddof=1)), found.size)


def against_stored(
    stored: ArrayLike,
    new: ArrayLike,
    night: NightNoise | None,
    prior: VariancePrior | None = None,
    level: float = 0.05,
    *,
    higher_is_better: bool = False,
) -> UnpairedEffect:
    """Difference of the mean ln of sessions that ran on different nights.

    Its variance is s~^2 (1/n1 + 1/n2) / 2 + 2 s_night^2, where s~^2 is the moderated variance of a
    pair: two sessions' variances in sum. Degrees of freedom by Satterthwaite (1946). Without an
    estimate of the nights nothing is known: infinite bounds, INCONCLUSIVE.

    Raises:
        DataError: fewer than 2 values of a side, or one not above 0.
    """
    first, second = logs(stored, "stored", 2), logs(new, "new", 2)
    mean = float(second.mean() - first.mean()) * (-1 if higher_is_better else 1)
    df, error = 0.0, math.inf
    lower, upper = -math.inf, math.inf
    if night is not None:
        error, df = _error(first, second, night, prior)
        lower, upper = bounds(mean, error**2, 1, df, level)
    return UnpairedEffect(
        second.size, first.size, mean, error, df, probability(level, "level"),
        float(lower), float(upper), night,
    )  # fmt: skip


def _error(
    first: Floats, second: Floats, night: NightNoise, prior: VariancePrior | None
) -> tuple[float, float]:
    """Standard error of the difference, and its degrees of freedom."""
    own_df = first.size + second.size - 2
    squares = first.var() * first.size + second.var() * second.size
    s_squared, s_df = moderated(2 * float(squares) / own_df, own_df, prior)
    sessions = s_squared * (1 / first.size + 1 / second.size) / 2
    nights = 2 * night.sd**2
    both = sessions + nights
    if both == 0:
        return 0.0, s_df
    df = both**2 / (sessions**2 / s_df + nights**2 / (night.nights - 1))
    return math.sqrt(both), df


def welch(base: ArrayLike, new: ArrayLike, confidence: float = 0.95) -> WelchTest:
    """Welch's t test on logarithms, as comparison tables show it.

    Raises:
        DataError: fewer than 2 values of a side, or one not above 0.
    """
    first, second = logs(base, "base", 2), logs(new, "new", 2)
    ratio = math.exp(float(second.mean() - first.mean()))
    if first.var() == 0 and second.var() == 0:  # no noise at all: what differs, differs
        return WelchTest(Interval(ratio, ratio, ratio), float(ratio == 1), math.inf)
    found = stats.ttest_ind(second, first, equal_var=False)
    limits = found.confidence_interval(probability(confidence, "confidence"))
    interval = Interval(ratio, math.exp(limits.low), math.exp(limits.high))
    return WelchTest(interval, float(found.pvalue), float(found.df))
