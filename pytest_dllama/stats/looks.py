"""The declared looks at a growing number of pairs, and the level that each look may use.

Looking again after more pairs would add up errors; each look therefore tests at one smaller level,
the same for all (Pocock 1977, Biometrika 64:191).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from pytest_dllama.stats.errors import DataError, probability

DECLARED = (3, 5, 7, 10)
TOTAL_LEVEL = 0.05  # one-sided, of all looks together
_SEED = 20260401  # of scipy's quasi-random integration: the same level on every machine


@dataclass(frozen=True, slots=True)
class Plan:
    """After how many pairs to look."""

    pairs: tuple[int, ...] = DECLARED
    total_level: float = TOTAL_LEVEL

    def __post_init__(self) -> None:
        probability(self.total_level, "the level of all looks together")
        rising = all(a < b for a, b in zip(self.pairs, self.pairs[1:], strict=False))
        if not self.pairs or self.pairs[0] < 2 or not rising:
            written = ",".join(map(str, self.pairs)) or "nothing"
            raise DataError(
                f"looks after {written} pairs: the first needs 2 pairs or more, each further look "
                "more than the one before, as in 3,5,7,10"
            )

    @property
    def level(self) -> float:
        """The one-sided nominal level of every look; 0.0199 of the declared plan."""
        return nominal_level(self.pairs, self.total_level)

    def next_after(self, n: int) -> int | None:
        """How many pairs the next look needs; None after the last."""
        return next((pairs for pairs in self.pairs if pairs > n), None)


@lru_cache(maxsize=256)
def nominal_level(pairs: tuple[int, ...], total: float = TOTAL_LEVEL) -> float:
    """The level of each look that keeps the level of all together, rounded down to 4 digits.

    Means after n_1 < n_2 < ... pairs of known variance are jointly normal with correlations
    sqrt(n_i / n_j); the level solves P(any z_i > z(1 - level)) = total, integrated by scipy.
    Estimated variances move the total by a few tenths of a point: docs/statistics.md shows it.

    >>> nominal_level((3, 5, 7, 10))
    0.0199
    """
    if len(pairs) == 1:
        return total
    n = np.array(pairs, dtype=np.float64)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))  # (looks, looks)

    def too_many(z: float) -> float:
        joint = stats.multivariate_normal(
            np.zeros(n.size), correlation, seed=_SEED, maxpts=400_000 * n.size, abseps=1e-6
        )
        return 1 - float(joint.cdf(np.full(n.size, z))) - total

    low, high = stats.norm.isf(total), stats.norm.isf(total / n.size)  # one look; Bonferroni
    level = float(stats.norm.sf(optimize.brentq(too_many, low - 1e-6, high + 1e-6, xtol=1e-6)))
    return math.floor(level * 1e4) / 1e4
