"""The nightly alarm: has the level of a series stepped up? Online, one value a night.

A one-sided generalized likelihood ratio for a step in the mean over the last 30 nights, after
AR(1) whitening (Lai 1998; Basseville & Nikiforov 1993, 2.4.3), with estimated noise. It never
judges: an alarm starts an A/B. docs/statistics.md derives it; `step_scores` is written for many
series at once, since its limit comes from simulation (`LIMIT`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pytest_dllama.stats.errors import DataError, Floats, finite
from pytest_dllama.stats.prior import VariancePrior

WINDOW = 30  # nights
FIRST_ALARM = 11  # the night that may raise the first alarm: ten quiet ones come before
MIN_BEFORE = 8  # nights of the window before a step
# One or two odd nights are no step unless they are gross: so much more their score must reach.
YOUNG_MARGINS = (2.5, 1.5)  # of a step of one night, of two
LAG = 5  # the latest nights teach nothing about noise: a step may have begun there
RHO_PRIOR, RHO_WEIGHT = 0.15, 60.0  # lag-1 correlation before any night is seen, and its nights
RHO_MOST = 0.8
MAX_PRIOR_DF = 200.0  # more would not change a digit
LEAST_VARIANCE = 1e-12  # of ln values: no clock tells a millionth, rounding must not alarm

# Made by `python -m benchmarks.verdicts.alarm_simulation --calibrate --series 60000`: at most 1 of
# 100 quiet series alarms in 80 nights at lag-1 correlation 0 to 0.3. A score alarms above LIMIT +
# RHO_SLOPE * estimated rho: too small an estimate inflates the score of a correlated series.
LIMIT = 3.85
RHO_SLOPE = 3.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A step up that noise hardly explains."""

    night: int  # of this level, from 1
    nights_since: int  # the likeliest step began so many nights ago, tonight included
    step: float  # its size, in the unit of the values (ln)
    score: float  # in standard deviations of a normal
    limit: float


@dataclass(frozen=True, slots=True)
class CorrelationPrior:
    """The lag-1 correlation of a cluster's nights, and how many nights it is worth."""

    rho: float | Floats  # of each series, where many are looked at at once: (series,)
    nights: float


# Before any night is seen.
UNKNOWN_CORRELATION = CorrelationPrior(RHO_PRIOR, RHO_WEIGHT)


@dataclass(slots=True)
class Noise:
    """What nights that left the window have taught; arrays for many series at once."""

    df: float
    squares: Floats  # of deviations from the level, (series,)
    products: Floats  # of neighbouring deviations, (series,)

    @classmethod
    def nothing(cls, series: int) -> Noise:
        """Before the first night leaves."""
        return cls(0.0, np.zeros(series), np.zeros(series))

    def learn(self, window: Floats) -> None:
        """Take over the oldest night of a full window, (series, WINDOW), before it is dropped."""
        settled = window[:, :-LAG]
        n = settled.shape[1]
        level = settled.mean(axis=1)
        first, second = window[:, 0] - level, window[:, 1] - level
        unbias = n / (n - 1)  # the level comes from the same nights
        self.df += 1
        self.squares = self.squares + unbias * first * first
        self.products = self.products + unbias * first * second


class StepDetector:
    """The alarm of one series: feed it one value a night, ln of the night's median.

    `prior` is of the variance of nightly values, from other series of the cluster: without it the
    first weeks are slower. `correlation` likewise, from `pooled_correlation`: it is what a young
    series lacks most. The state is the last 30 values and three numbers.
    """

    def __init__(
        self,
        prior: VariancePrior | None = None,
        correlation: CorrelationPrior = UNKNOWN_CORRELATION,
    ) -> None:
        self.prior, self.correlation = prior, correlation
        self.night = 0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._noise = Noise.nothing(1)

    def update(self, value: float) -> Alarm | None:
        """Tonight's value. An alarm stands every night until the level is accepted.

        Raises:
            DataError: a value that is not finite; the state stays as it was.
        """
        if not math.isfinite(value):
            raise DataError(f"tonight's value is {value}: leave out a night without one")
        if len(self._recent) == WINDOW:
            self._noise.learn(np.array([self._recent]))
        self._recent.append(value)
        self.night += 1
        if self.night < FIRST_ALARM:
            return None
        window = np.array([self._recent])
        scores, steps, rho = step_scores(window, self._noise, self.prior, self.correlation)
        best = int(scores[0].argmax())
        limit = float(alarm_limit(float(rho[0]), self.correlation.nights))
        if scores[0, best] <= limit:
            return None
        return Alarm(
            night=self.night,
            nights_since=scores.shape[1] - best,
            step=float(steps[0, best]),
            score=float(scores[0, best]),
            limit=limit,
        )

    @property
    def remembered(self) -> int:
        """Nights of this level that are still in the window."""
        return len(self._recent)

    def accept(self, nights_since: int = 0) -> None:
        """Begin a new level at an accepted change that began so many nights ago, tonight included.

        Noise learnt from nights that left the window is of the old level and is forgotten with it.

        Raises:
            DataError: more nights than are remembered.
        """
        if not 0 <= nights_since <= len(self._recent):
            raise DataError(
                f"a change {nights_since} nights ago: only {len(self._recent)} are remembered"
            )
        kept = list(self._recent)[len(self._recent) - nights_since :]
        self._recent = deque(kept, maxlen=WINDOW)
        self._noise = Noise.nothing(1)
        self.night = len(kept)


def alarm_limit(rho: float | Floats, nights: float | Floats = RHO_WEIGHT) -> Any:
    """The score above which a night alarms, for an estimated lag-1 correlation.

    `nights` is what is known of the correlation beforehand: the slope makes up for estimates that
    are too small, so the better it is known, the flatter it may be (by simulation: a cube root).
    """
    return LIMIT + RHO_SLOPE * np.cbrt(RHO_WEIGHT / np.asarray(nights)) * rho


def step_scores(
    window: Floats,
    noise: Noise,
    prior: VariancePrior | None = None,
    correlation: CorrelationPrior = UNKNOWN_CORRELATION,
) -> tuple[Floats, Floats, Floats]:
    """Scores and sizes of every possible step, (series, splits), and rho, (series,).

    `window` is (series, nights), the latest night last. Split i begins at night MIN_BEFORE + i of
    it. The score is the t of generalized least squares, as a normal deviate, less YOUNG_MARGINS.
    """
    x = window - window.mean(axis=1, keepdims=True)
    d0, s0_squared = _prior_numbers(prior)
    rho = _lag1(x, noise, d0, s0_squared, correlation)
    size, information, squares = _gls(x, rho)
    learnt = ((noise.squares + d0 * s0_squared) * (1 - rho * rho))[:, np.newaxis]
    df = x.shape[1] - 2 + noise.df + d0
    variance = np.maximum((squares + learnt) / df, LEAST_VARIANCE)
    score = _normal_score(size * np.sqrt(information / variance), df)
    for nights, margin in enumerate(YOUNG_MARGINS, start=1):
        score[:, -nights] -= margin
    return score, size, rho


def pooled_correlation(series: Iterable[ArrayLike]) -> CorrelationPrior:
    """What the nights of a cluster's other series know of the correlation, shrunk to RHO_PRIOR.

    Each series' own level is taken off, and Kendall's bias of it added back. A step in one of them
    looks like correlation: the alarm is then later, never falser.

    Raises:
        DataError: a value that is not finite.
    """
    nights, products, squares, n_series = 0, 0.0, 0.0, 0
    for values in series:
        found = finite(values, "series", at_least=0)
        if found.size < MIN_BEFORE or np.ptp(found) == 0:
            continue
        e = (found - found.mean()) / found.std()
        products, squares = products + float(e[1:] @ e[:-1]), squares + float(e @ e)
        nights, n_series = nights + found.size, n_series + 1
    if nights == 0:
        return UNKNOWN_CORRELATION
    return shrunk_correlation(products / squares, nights, n_series)


def shrunk_correlation(rho: float | Floats, nights: int, series: int) -> CorrelationPrior:
    """What is known after so many nights of so many series, of a level of their own each."""
    unbiased = rho + (1 + 3 * rho) * series / nights
    both = nights + RHO_WEIGHT
    return CorrelationPrior((nights * unbiased + RHO_WEIGHT * RHO_PRIOR) / both, both)


def _prior_numbers(prior: VariancePrior | None) -> tuple[float, float]:
    if prior is None:
        return 0.0, 0.0
    return min(prior.d0, prior.total_df, MAX_PRIOR_DF), prior.s0_squared


def _lag1(x: Floats, noise: Noise, d0: float, s0_squared: float, prior: CorrelationPrior) -> Floats:
    """Lag-1 correlation, (series,), of nights before the latest, shrunk to its prior.

    The correlation of few values is too small by (1 + 3 rho) / n (Kendall 1954).
    """
    nights = x.shape[1]
    n = nights - LAG
    y = x[:, :n] - x[:, :n].mean(axis=1, keepdims=True)
    squares = (y * y).sum(axis=1) + noise.squares
    products = (y[:, 1:] * y[:, :-1]).sum(axis=1) + noise.products
    variance = (squares + d0 * s0_squared) / (n - 1 + noise.df + d0)
    known = squares + prior.nights * variance
    known = np.where(known > 0, known, 1.0)  # a series without any noise
    rho = (products + prior.nights * prior.rho * variance) / known
    rho = rho + (1 + 3 * rho) / (n + noise.df + prior.nights)
    return np.asarray(np.clip(rho, 0.0, RHO_MOST))


def _gls(x: Floats, rho_of_series: Floats) -> tuple[Floats, Floats, Floats]:
    """Step, its information and the residual squares for every split, (series, splits).

    Whitened: e_0 = g x_0, e_t = x_t - rho x_(t-1); the level becomes (g, q, q, ...) and a step at k
    (0, .., 1, q, q, ...), with q = 1 - rho, g^2 = 1 - rho^2. Sums from prefix sums alone.
    """
    nights = x.shape[1]
    k = np.arange(MIN_BEFORE, nights)  # first night of the step
    after = nights - k
    total = x.sum(axis=1, keepdims=True)
    later = total - np.cumsum(x, axis=1)[:, k]  # nights after the first of the step
    first, last = x[:, :1], x[:, -1:]
    squares = (x * x).sum(axis=1, keepdims=True)
    products = (x[:, 1:] * x[:, :-1]).sum(axis=1, keepdims=True)
    rho = rho_of_series[:, np.newaxis]
    q, g2 = 1 - rho, 1 - rho * rho
    level_level = g2 + (nights - 1) * q * q
    level_e = g2 * first + q * ((total - first) - rho * (total - last))
    e_e = g2 * first**2 + (squares - first**2) - 2 * rho * products + rho**2 * (squares - last**2)
    level_step = q * (1 + (after - 1) * q)
    later_before = later + x[:, k] - last  # the nights before those of `later`
    step_e = x[:, k] - rho * x[:, k - 1] + q * (later - rho * later_before)
    information = 1 + (after - 1) * q * q - level_step**2 / level_level
    slope = step_e - level_step * level_e / level_level
    residual = e_e - level_e**2 / level_level - slope**2 / information
    return slope / information, information, np.maximum(residual, 0.0)


def _normal_score(t: Floats, df: float) -> Floats:
    """The normal deviate of about the same tail as a t (Wallace 1959): no underflow, quick."""
    squeezed = np.sqrt(df * np.log1p(t * t / df)) * (8 * df + 1) / (8 * df + 3)
    return np.asarray(np.sign(t) * squeezed)
