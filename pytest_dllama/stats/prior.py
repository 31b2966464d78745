"""What A/A pairs of a cluster know about variances: the prior of the moderated t.

Mirrors `fitFDist` of limma (Smyth 2004, Statistical Applications in Genetics and Molecular Biology
3:3): variances of groups follow s0^2 F(d_g, d0), fitted by the moments of their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from pytest_dllama.stats.errors import DataError, finite

MIN_GROUPS = 20  # fewer give no prior: the plain t, marked provisional
GROUP_SIZES = (3, 6)  # pairs of one group: a long calibration gives several groups
FLOOR = 1e-5  # of the median variance; the logarithm of less would rule the fit


@dataclass(frozen=True, slots=True)
class VarianceGroup:
    """The variance of adjacent pairs of one cell for one metric."""

    df: int  # pairs - 1
    variance: float  # of d = ln(new / base)

    def __post_init__(self) -> None:
        if self.df < 1 or not (math.isfinite(self.variance) and self.variance >= 0):
            raise DataError(
                f"a variance of {self.variance:g} with {self.df} degrees of freedom: a group "
                "needs two pairs or more and a variance of 0 or more"
            )


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """s0^2 is the typical variance of a pair; d0 says how many degrees of freedom it is worth."""

    d0: float  # infinity: all groups have one variance
    s0_squared: float
    groups: int
    total_df: float  # the sum of all d_g: no moderated t has more

    def __post_init__(self) -> None:
        if not (self.d0 > 0 and self.s0_squared > 0 and self.total_df > 0):
            raise DataError(
                f"prior with d0 {self.d0:g}, s0^2 {self.s0_squared:g}, {self.total_df:g} degrees "
                "of freedom in all: each must be above 0"
            )

    @property
    def s0(self) -> float:
        """Typical standard deviation of a pair, in ln."""
        return math.sqrt(self.s0_squared)


def groups_of(differences: ArrayLike) -> list[VarianceGroup]:
    """Adjacent pairs of one cell and metric, cut into groups of 3 to 6 pairs of about equal size.

    Short groups keep slow drift out of the variance, as short verdicts do. Fewer than three pairs
    give no group.

    >>> [group.df for group in groups_of(range(10))]
    [4, 4]

    Raises:
        DataError: a difference that is not finite.
    """
    found = finite(differences, "differences", at_least=0)
    if found.size < GROUP_SIZES[0]:
        return []
    blocks = np.array_split(found, math.ceil(found.size / GROUP_SIZES[1]))
    return [VarianceGroup(len(block) - 1, float(block.var(ddof=1))) for block in blocks]


def missing_groups(groups: Iterable[VarianceGroup]) -> int:
    """How many more groups a prior needs; 0 if it can be fitted."""
    return max(MIN_GROUPS - len(list(groups)), 0)


def fit_prior(
    *sources: Iterable[VarianceGroup], at_least: int = MIN_GROUPS
) -> VariancePrior | None:
    """The prior of all groups together; None under 20 of them: `missing_groups` says how many.

    `at_least` is another number than 20, for groups that are no history but parts of one whole.

    New groups need the old ones beside them: a fit cannot be merged, its groups can.

    Raises:
        DataError: more than half of the groups have no variance at all.
    """
    groups = [group for source in sources for group in source]
    if len(groups) < at_least:
        return None
    df = np.array([group.df for group in groups], dtype=np.float64)  # (groups,)
    variance = np.array([group.variance for group in groups])  # (groups,)
    median = float(np.median(variance))
    if median == 0:
        raise DataError(
            f"more than half of {len(groups)} groups of pairs have variance 0: the metric is exact "
            "or its clock too coarse; judge it without a prior"
        )
    d0, s0_squared = _moments(np.maximum(variance, FLOOR * median), df)
    return VariancePrior(d0, s0_squared, len(groups), float(df.sum()))


def _moments(variance: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    """d0 and s0^2: mean and variance of ln s_g^2 less what sampling alone explains."""
    e = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(e.var(ddof=1) - special.polygamma(1, df / 2).mean())
    if excess <= 0:
        return math.inf, float(variance.mean())
    half = trigamma_inverse(excess)
    return 2 * half, math.exp(float(e.mean() + special.digamma(half)) - math.log(half))


def trigamma_inverse(value: float) -> float:
    """The y > 0 with trigamma(y) = value.

    1/y < trigamma(y) < 1/y + 1/y^2 brackets the root.

    >>> round(trigamma_inverse(float(special.polygamma(1, 4.0))), 9)
    4.0

    Raises:
        DataError: a value that is not above 0, or not finite.
    """
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"trigamma takes every value above 0, and never {value:g}")
    low = 1 / value
    high = (1 + math.sqrt(1 + 4 * value)) / (2 * value)
    if high - low <= 1e-12 * low:  # very small values: trigamma(y) = 1/y to all digits
        return low
    found = optimize.brentq(lambda y: float(special.polygamma(1, y)) - value, low, high, rtol=1e-14)
    return float(found)
