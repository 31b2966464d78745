"""`python -m benchmarks.verdicts.alarm_simulation`: how often nightly alarms are wrong or late.

Prints tables of docs/statistics.md and docs/history.md as Markdown. Uses the function that watches
real series, on drawn numbers: nothing is measured here. `--calibrate` finds the alarm's limit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.table import markdown_table
from benchmarks.verdicts.simulation import SEED, Rng, drawn_sd, prior_of, share_text
from pytest_dllama.stats.change_point import (
    FIRST_ALARM,
    MIN_BEFORE,
    RHO_SLOPE,
    UNKNOWN_CORRELATION,
    WINDOW,
    CorrelationPrior,
    Noise,
    alarm_limit,
    shrunk_correlation,
    step_scores,
)
from pytest_dllama.stats.errors import Floats
from pytest_dllama.stats.prior import VariancePrior

NIGHTS = 80
QUIET = 0.01  # of series may alarm in NIGHTS
BATCH = 10_000  # series at once: memory
STEP = 2.5  # standard deviations: 5 % at 2 % noise
AFTER = 20  # nights in which a step is looked for
Alarms = np.ndarray  # of bool, (series, nights)


@dataclass(frozen=True, slots=True)
class Nights:
    """Scores of many series, (series, nights), -inf before the first possible alarm."""

    score: Floats
    rho: Floats
    known: Floats  # nights that the correlation was known from beforehand, (nights,)

    def excess(self) -> Floats:
        """Score less what the limit grants an estimated correlation: alarms compare it with LIMIT.

        (series, nights).
        """
        return self.score - RHO_SLOPE * self.rho

    def alarms(self) -> Alarms:
        """Whether each night alarms, (series, nights)."""
        return np.asarray(self.score > alarm_limit(self.rho, self.known))


def draw_series(
    rng: Rng, series: int, nights: int, rho: float, t_df: float | None = None
) -> Floats:
    """Stationary AR(1) of variance 1, (series, nights)."""
    e = rng.standard_normal((series, nights))
    if t_df is not None:
        e = rng.standard_t(t_df, (series, nights)) / math.sqrt(t_df / (t_df - 2))
    x = np.empty_like(e)
    x[:, 0] = e[:, 0]
    for night in range(1, nights):
        x[:, night] = rho * x[:, night - 1] + math.sqrt(1 - rho * rho) * e[:, night]
    return x


def run_nights(
    x: Floats,
    prior: VariancePrior | None,
    correlation: CorrelationPrior | Sequence[CorrelationPrior] = UNKNOWN_CORRELATION,
) -> Nights:
    """What `StepDetector` does with each series, for all at once; a correlation for each night."""
    known: Sequence[CorrelationPrior] = (
        [correlation] * x.shape[1] if isinstance(correlation, CorrelationPrior) else correlation
    )
    score = np.full(x.shape, -np.inf)
    rho = np.zeros_like(x)
    noise = Noise.nothing(len(x))
    for night in range(x.shape[1]):
        begin = max(night + 1 - WINDOW, 0)
        if begin:
            noise.learn(x[:, begin - 1 : night])
        if night + 1 >= FIRST_ALARM:
            now = known[night]
            scores, _, rho[:, night] = step_scores(x[:, begin : night + 1], noise, prior, now)
            score[:, night] = scores.max(axis=1)
    return Nights(score, rho, np.array([one.nights for one in known]))


def quiet_batches(
    rng: Rng, series: int, rho: float, d0: float | None, t_df: float | None = None
) -> Iterator[Nights]:
    """Quiet series, each with its own variance if the detector has a prior."""
    prior = None if d0 is None else prior_of(1.0, d0)
    for begin in range(0, series, BATCH):
        x = draw_series(rng, min(BATCH, series - begin), NIGHTS, rho, t_df)
        if d0 is not None:
            x = x * drawn_sd(rng, len(x), 1.0, d0)[:, np.newaxis]
        yield run_nights(x, prior)


PRIORS: Sequence[tuple[str, float | None]] = (("none", None), ("d0 = 8", 8.0), ("d0 = 20", 20.0))


def quiet_rows(series: int) -> Iterator[list[str]]:
    """Alarms of quiet series in 80 nights."""
    kinds = [(rho, None) for rho in (0.0, 0.15, 0.3, 0.5)] + [(0.0, 5.0)]
    for rho, t_df in kinds:
        cells = []
        for _, d0 in PRIORS:
            rng = np.random.default_rng([SEED, 4, round(rho * 100), round(d0 or 0)])
            batches = quiet_batches(rng, series, rho, d0, t_df)
            count = sum(int(nights.alarms().any(axis=1).sum()) for nights in batches)
            cells.append(share_text(count, series))
        yield [f"{rho:g}" + (f", noise t({t_df:g})" if t_df else ""), *cells]


def delay_rows(series: int) -> Iterator[list[str]]:
    """Median nights until the alarm (the step's first night is 1), and steps found in 20 nights."""
    for rho in (0.0, 0.3):
        for quiet in (20, 30, 40, 60):
            cells = []
            for _, d0 in PRIORS:
                rng = np.random.default_rng([SEED, 5, quiet, round(rho * 100)])
                x = draw_series(rng, series, quiet + AFTER, rho)
                x[:, quiet:] += STEP
                prior = None if d0 is None else prior_of(1.0, d0)
                cells.append(delay_text(run_nights(x, prior).alarms()[:, quiet:]))
            yield [f"{rho:g}", str(quiet), *cells]


def calibrated_limit(series: int) -> float:
    """The least LIMIT, rounded up to 2 digits, that keeps every kind of quiet series quiet.

    By two standard errors of the simulation, so that the promise holds and not only its estimate.
    """
    margin = 2 * math.sqrt(QUIET * (1 - QUIET) / series)
    quantiles = []
    for rho in (0.0, 0.15, 0.3):
        for name, d0 in PRIORS:
            rng = np.random.default_rng([SEED, 6, round(rho * 100), round(d0 or 0)])
            tops = [n.excess().max(axis=1) for n in quiet_batches(rng, series, rho, d0)]
            quantiles.append(float(np.quantile(np.concatenate(tops), 1 - QUIET + margin)))
            print(f"rho {rho:g}, prior {name}: {quantiles[-1]:.3f}", flush=True)
    return math.ceil(max(quantiles) * 100) / 100


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """How many series a cluster has, and how much of each night's noise they share."""

    series: int
    shared: float

    def __str__(self) -> str:
        return f"{self.series} series, {100 * self.shared:.0f} % shared"


SHAPES = (ClusterShape(2, 0.5), ClusterShape(6, 0.0), ClusterShape(6, 0.5))


def draw_clusters(rng: Rng, shape: ClusterShape, clusters: int, nights: int, rho: float) -> Floats:
    """Nights of whole clusters, each series of variance 1, (clusters, series, nights)."""
    own = draw_series(rng, clusters * shape.series, nights, rho)
    both = draw_series(rng, clusters, nights, rho)[:, np.newaxis, :]
    whole = own.reshape(clusters, shape.series, nights)
    return np.asarray(math.sqrt(1 - shape.shared) * whole + math.sqrt(shape.shared) * both)


def known_by_others(x: Floats, night: int) -> CorrelationPrior:
    """`pooled_correlation` of each series' neighbours up to a night, for all series at once."""
    clusters, series, _ = x.shape
    if night < MIN_BEFORE:
        return UNKNOWN_CORRELATION
    e = x[:, :, :night] - x[:, :, :night].mean(axis=2, keepdims=True)
    e = e / e.std(axis=2, keepdims=True)
    products = (e[:, :, 1:] * e[:, :, :-1]).sum(axis=2)
    others = products.sum(axis=1, keepdims=True) - products
    nights = (series - 1) * night
    return shrunk_correlation((others / nights).reshape(clusters * series), nights, series - 1)


def run_clusters(x: Floats, d0: float | None = None) -> Alarms:
    """Alarms of each series, its correlation known from its neighbours, (clusters, series, nights).

    With `d0`, a prior of the variance too.
    """
    known = [known_by_others(x, night) for night in range(x.shape[2])]
    flat = x.reshape(-1, x.shape[2])
    prior = None if d0 is None else prior_of(1.0, d0)
    return run_nights(flat, prior, known).alarms().reshape(x.shape)


def cluster_quiet_rows(clusters: int) -> Iterator[list[str]]:
    """Alarms of quiet series that have neighbours, in 80 nights."""
    for rho in (0.0, 0.15, 0.3):
        cells = []
        for shape in SHAPES:
            rng = np.random.default_rng([SEED, 7, shape.series, round(rho * 100)])
            found = run_clusters(draw_clusters(rng, shape, clusters, NIGHTS, rho))
            cells.append(share_text(int(found.any(axis=2).sum()), clusters * shape.series))
        yield [f"{rho:g}", *cells]


def cluster_delay_rows(clusters: int) -> Iterator[list[str]]:
    """Median nights until the alarm where one series of a cluster steps."""
    for rho in (0.0, 0.3):
        for quiet in (20, 30, 40, 60):
            cells = []
            for shape in SHAPES:
                rng = np.random.default_rng([SEED, 8, shape.series, quiet, round(rho * 100)])
                x = draw_clusters(rng, shape, clusters, quiet + AFTER, rho)
                x[:, 0, quiet:] += STEP
                cells.append(delay_text(run_clusters(x)[:, 0, quiet:]))
            yield [f"{rho:g}", str(quiet), *cells]


def delay_text(alarms: Alarms) -> str:
    """Median night of the first alarm, the step's first being 1, and the share that alarms.

    >>> delay_text(np.array([[False, True], [False, True], [True, False]]))
    '2 (100 %)'
    """
    found = alarms.any(axis=1)
    delay = np.where(found, alarms.argmax(axis=1) + 1, 99)
    return f"{np.median(delay):.0f} ({100 * found.mean():.0f} %)"


def report(series: int) -> Iterator[str]:
    """The tables, one after the other."""
    priors = [f"prior: {name}" for name, _ in PRIORS]
    shapes = list(map(str, SHAPES))
    yield f"### Quiet series that alarm within {NIGHTS} nights ({series} series a figure)"
    yield markdown_table(["lag-1 correlation", *priors], quiet_rows(series))
    yield "### A 5 % step at 2 % noise: median nights to the alarm (found within 20 nights)"
    yield markdown_table(
        ["lag-1 correlation", "quiet nights before", *priors], delay_rows(series // 5)
    )
    yield f"### The same with neighbours: quiet series ({series // 4} clusters a figure)"
    yield markdown_table(["lag-1 correlation", *shapes], cluster_quiet_rows(series // 4))
    yield f"### The same with neighbours: median nights to the alarm ({series // 10} clusters)"
    head = ["lag-1 correlation", "quiet nights before", *shapes]
    yield markdown_table(head, cluster_delay_rows(series // 10))


def main() -> None:
    """Parse the options, simulate, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts.alarm_simulation", description=__doc__
    )
    parser.add_argument("--series", type=int, default=20_000, help="a figure (default: 20000)")
    parser.add_argument("--calibrate", action="store_true", help="find the limit instead")
    options = parser.parse_args()
    if options.calibrate:
        print(f"LIMIT = {calibrated_limit(options.series)}")
        return
    for block in report(options.series):
        print(block, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
