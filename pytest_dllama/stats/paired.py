"""A against B in adjacent pairs: the moderated paired t (Smyth 2004) on d = ln(new / base).

The sign is turned so that plus is worse. Without a prior it is the plain paired t, provisional.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pytest_dllama.stats.errors import DataError, Floats, finite, logs, probability, same_length
from pytest_dllama.stats.prior import VariancePrior

Numbers = TypeVar("Numbers", float, Floats)


@dataclass(frozen=True, slots=True)
class PairedEffect:
    """The effect of a change, in ln, with one-sided bounds at `level` each."""

    n: int
    mean: float
    sd: float  # of the pairs themselves
    s_tilde: float  # moderated; sd without a prior
    df: float
    level: float
    lower: float
    upper: float
    is_provisional: bool  # no prior

    @property
    def change(self) -> float:
        """The relative change, plus is worse; of a higher-is-better metric of base / new.

        0.05 is 5 %.
        """
        return math.expm1(self.mean)

    def p_worse(self, theta: float) -> float:
        """One-sided p of "no worse than tolerated": small says that it is worse."""
        return _p_above(self.mean - theta, self.s_tilde / math.sqrt(self.n), self.df)

    def p_not_worse(self, theta: float) -> float:
        """One-sided p of "worse than tolerated": small says that it is not."""
        return _p_above(theta - self.mean, self.s_tilde / math.sqrt(self.n), self.df)


def _p_above(distance: float, error: float, df: float) -> float:
    if error == 0:
        return 0.5 if distance == 0 else float(distance < 0)
    return float(special.stdtr(df, -distance / error))


def ln_ratios(base: ArrayLike, new: ArrayLike, *, higher_is_better: bool = False) -> Floats:
    """d of each pair, shape (n,): ln(new / base), sign turned so that plus is worse.

    Raises:
        DataError: sides of different length, values not above 0.
    """
    first, second = logs(base, "base"), logs(new, "new")
    same_length(first, second)
    return first - second if higher_is_better else second - first


def paired_effect(
    differences: ArrayLike,
    prior: VariancePrior | None = None,
    level: float = 0.05,
    least: float = 0.0,
) -> PairedEffect:
    """Mean and bounds of pairs' differences d; `level` is one-sided, of each bound.

    `least` is a variance that a pair surely has, such as that within its sessions: pairs that
    happen to agree better are not taken for less noisy.

    Raises:
        DataError: fewer than 2 pairs, a difference that is not finite, a level outside 0..1.
    """
    d = finite(differences, "pairs", at_least=2)
    mean, variance = float(d.mean()), float(d.var(ddof=1))
    s_squared, df = moderated(variance, d.size - 1, prior)
    s_squared = max(s_squared, least)
    lower, upper = bounds(mean, s_squared, d.size, df, level)
    return PairedEffect(
        n=d.size,
        mean=mean,
        sd=math.sqrt(variance),
        s_tilde=math.sqrt(s_squared),
        df=df,
        level=level,
        lower=float(lower),
        upper=float(upper),
        is_provisional=prior is None,
    )


def moderated(variance: Numbers, df: float, prior: VariancePrior | None) -> tuple[Numbers, float]:
    """s~^2 of each variance and its degrees of freedom, limma's cap included."""
    if prior is None:
        return variance, df
    if math.isinf(prior.d0):
        return variance * 0.0 + prior.s0_squared, prior.total_df
    s_squared = (prior.d0 * prior.s0_squared + df * variance) / (prior.d0 + df)
    return s_squared, min(prior.d0 + df, prior.total_df)


def bounds(
    mean: Numbers, s_squared: Numbers, n: int, df: float, level: float
) -> tuple[Numbers, Numbers]:
    """mean -+ t(1 - level, df) s~ / sqrt(n), for one cell or an array of them.

    Raises:
        DataError: a level outside 0..1, or no degrees of freedom.
    """
    if df <= 0:
        raise DataError(f"bounds with {df:g} degrees of freedom: take more pairs")
    reach = -special.stdtrit(df, probability(level, "level")) * np.sqrt(s_squared / n)
    return mean - reach, mean + reach
