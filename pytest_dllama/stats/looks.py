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
_NODES = 400  # of each integral: enough for looks at 99 and 100 pairs
_FAR = 9.0  # standard deviations below 0, where no probability is left


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


@lru_cache(maxsize=256)
def nominal_level(pairs: tuple[int, ...], total: float = TOTAL_LEVEL) -> float:
    """The level of each look that keeps the level of all together, rounded down to 4 digits.

    The level solves P(any z_i > z(1 - level)) = total for pairs of known variance. Estimated
    variances move the total by a few tenths of a point: docs/statistics.md shows it.

    >>> nominal_level((3, 5, 7, 10))
    0.0199
    """
    if len(pairs) == 1:
        return total
    low, high = stats.norm.isf(total), stats.norm.isf(total / len(pairs))  # one look; Bonferroni
    z = optimize.brentq(
        lambda z: 1 - stays_below(pairs, z) - total, low - 1e-6, high + 1e-6, xtol=1e-9
    )
    return math.floor(float(stats.norm.sf(z)) * 1e4) / 1e4


def stays_below(pairs: tuple[int, ...], z: float) -> float:
    """P(no z_i > z) of a normal sum looked at after n_1 < n_2 < ... pairs, by quadrature.

    The density of the sum, of what has not crossed yet, goes from look to look (Armitage, McPherson
    & Rowe 1969, Journal of the Royal Statistical Society A 132:235).
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    sums, mass = np.zeros(1), np.ones(1)  # before the first pair the sum is 0 for certain
    before = 0
    for n in pairs:
        low, high = -_FAR * math.sqrt(n), z * math.sqrt(n)
        here = (high + low) / 2 + (high - low) / 2 * nodes
        step = stats.norm.pdf(here[:, np.newaxis] - sums, scale=math.sqrt(n - before))
        mass = (step @ mass) * weights * (high - low) / 2
        sums, before = here, n
    return float(mass.sum())
