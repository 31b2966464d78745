"""What a request's own tokens say of a pair's noise: no pair of sessions is quieter than they are.

On a busy machine gaps between tokens jump by a multiple, and what is known of the noise, from A/A
pairs on a quiet one, does not hold: three pairs that happen to agree would then look certain.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.record.cell import Sample, steady_mean
from pytest_dllama.stats.prior import VariancePrior

GROUPS = 8  # of gaps that follow each other: neighbours are alike
FEWEST = 2 * GROUPS  # gaps
QUIETER = 2.0  # so many times the variance of calibrated pairs: they were of a quieter machine
_OF_GAPS: Mapping[str, Callable[[Sequence[float]], float | None]] = {
    "tpot_ms": statistics.fmean,
    "steady_tpot_ms": steady_mean,
}
PER_TOKEN = ("tpot_ms", "steady_tpot_ms", "rct_s", "tokens_per_s", "decode_tokens_per_s")


def gaps_variance(
    gaps_ms: Sequence[float], figure: Callable[[Sequence[float]], float | None]
) -> float:
    """Relative variance of a figure of one request's gaps; 0 of fewer than 16 of them.

    The jackknife that leaves out a group of neighbouring gaps at a time (Quenouille 1949; Kunsch
    1989 for series whose neighbours are alike).

    >>> gaps_variance([2.0] * 16, statistics.fmean)
    0.0
    """
    n = len(gaps_ms)
    if n < FEWEST:
        return 0.0
    cuts = [n * group // GROUPS for group in range(GROUPS + 1)]
    without = [
        found
        for begin, end in itertools.pairwise(cuts)
        if (found := figure([*gaps_ms[:begin], *gaps_ms[end:]]))
    ]
    if len(without) < GROUPS:
        return 0.0
    middle = statistics.fmean(without)
    squares = sum((each / middle - 1.0) ** 2 for each in without)
    return (GROUPS - 1) / GROUPS * squares


@dataclass(frozen=True, slots=True)
class GapsNoise:
    """What gaps between tokens say of the pairs of a cell."""

    least: Mapping[str, float]  # by metric: what d = ln(new / base) of a pair varies by at least
    is_disturbed: bool  # a busier machine than that of the priors, which then say nothing of it


def gaps_noise(
    base: Sequence[Sample],
    new: Sequence[Sample],
    priors: Mapping[str, VariancePrior | None],
    requests: int = 1,
) -> GapsNoise:
    """What the gaps of these sessions say.

    The value of a session is the median of its requests: the variance of the median of n is about
    pi / (2 n) of a single one's, for one or more.

    Args:
        base: a sample a pair, each of one session.
        new: likewise.
        priors: by metric, what A/A pairs know of the noise.
        requests: of a session.
    """
    pairs = list(zip(base, new, strict=False))
    share = min(1.0, math.pi / 2 / requests) / max(len(pairs), 1)
    of_gaps = {
        metric: share * sum(gaps_variance(s.itl_ms, figure) for pair in pairs for s in pair)
        for metric, figure in _OF_GAPS.items()
    }
    is_disturbed = any(
        (prior := priors.get(metric)) is not None and variance > QUIETER * prior.s0_squared
        for metric, variance in of_gaps.items()
    )
    least = {metric: of_gaps.get(metric, of_gaps["tpot_ms"]) for metric in PER_TOKEN}
    return GapsNoise(least, is_disturbed)
