"""What so many pairs can find, and how many pairs an answer takes."""

from __future__ import annotations

import math

from scipy import special

from pytest_dllama.stats.errors import DataError, probability
from pytest_dllama.stats.paired import PairedEffect, moderated
from pytest_dllama.stats.prior import VariancePrior

POWER = 0.90
MAX_PAIRS = 10_000  # whoever needs more has the wrong experiment


def reach(n: int, s_tilde: float, prior: VariancePrior | None, level: float, power: float) -> float:
    """The distance from a limit that n pairs find with this power, in ln.

    (t(1 - level, df) + t(power, df)) s~ / sqrt(n).

    Raises:
        DataError: fewer than 2 pairs, a negative deviation, level or power outside 0..1.
    """
    if n < 2 or not (math.isfinite(s_tilde) and s_tilde >= 0):
        raise DataError(
            f"{n} pairs with a standard deviation of {s_tilde:g}: two pairs or more and a "
            "deviation of 0 or more are needed"
        )
    _, df = moderated(0.0, n - 1, prior)
    quantiles = special.stdtrit(df, probability(power, "power")) - special.stdtrit(
        df, probability(level, "level")
    )
    return float(max(quantiles, 0.0)) * s_tilde / math.sqrt(n)


def detectable_change(
    n: int,
    s_tilde: float,
    theta: float,
    prior: VariancePrior | None = None,
    level: float = 0.05,
    power: float = POWER,
) -> float:
    """The least relative change that n pairs call REGRESSED with this power; 0.1 is 10 %.

    exp(theta + reach) - 1, with s~ the moderated standard deviation of a pair, in ln.

    Raises:
        DataError: as `reach`.
    """
    return math.expm1(theta + reach(n, s_tilde, prior, level, power))


def pairs_needed(
    distance: float,
    s_tilde: float,
    prior: VariancePrior | None = None,
    level: float = 0.05,
    power: float = POWER,
) -> int | None:
    """Fewest pairs that find an effect this far from its limit, in ln; None above 10 000.

    Raises:
        DataError: as `reach`.
    """
    if reach(MAX_PAIRS, s_tilde, prior, level, power) > abs(distance):
        return None
    low, high = 1, MAX_PAIRS  # reach falls with n
    while high - low > 1:
        middle = (low + high) // 2
        if reach(middle, s_tilde, prior, level, power) <= abs(distance):
            high = middle
        else:
            low = middle
    return high


def pairs_to_decide(
    effect: PairedEffect,
    theta: float,
    prior: VariancePrior | None = None,
    power: float = POWER,
) -> int | None:
    """How many pairs would decide, if effect and noise are what they look like; None above 10 000.

    Counts all pairs, those already taken included. Takes the effect's own level: a plan with other
    looks has another.
    """
    return pairs_needed(effect.mean - theta, effect.s_tilde, prior, effect.level, power)
