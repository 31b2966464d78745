"""A against B: pairs of one metric to a verdict. Method and error rates: docs/statistics.md.

Knows nothing of sessions, processes or files; the mathematics is `stats`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.verdict import MetricVerdict
from pytest_dllama.stats.decision import decide, theta_of
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.paired import PairedEffect, ln_ratios, paired_effect
from pytest_dllama.stats.power import detectable_change, pairs_to_decide
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.resolution import clock_grid
from pytest_dllama.verdict.limits.limit import FOR_ANOTHER, TOLERANCES
from pytest_dllama.verdict.within_request import PER_TOKEN, GapsNoise

COARSEST_MS = 1.0  # no engine's clock tells less than whole milliseconds
_FINE = 0.01  # of a token: a clock that tells single gaps
DISTURBED = (
    "tokens vary more within its requests than pairs did in the calibration, as beside other "
    "programs: judged by these pairs alone, and more strictly"
)
# Beside other programs noise is far wider than what is tolerated, so that looks are wrong as often
# as their level allows: 1 % a metric over all looks in place of 5 %.
DISTURBED_LEVEL = 0.2


@dataclass(frozen=True, slots=True)
class _Bounds:
    lower: float
    upper: float


def judge_metric(
    metric: str,
    base: Sequence[float],
    new: Sequence[float],
    *,
    level: float,
    prior: VariancePrior | None = None,
    tolerance: float | None = None,
    resolution: float = 0.0,
    gaps: GapsNoise | None = None,
) -> MetricVerdict:
    """The verdict of the pairs (base[i], new[i]) so far, in the metric's own unit.

    Args:
        metric: one of METRICS.
        base: one value a pair.
        new: likewise.
        level: one-sided, of this look.
        prior: what A/A pairs of this cluster know of the noise; None: the plain paired t.
        tolerance: relative change that is tolerated; the metric's default if None.
        resolution: relative change below which the engine's clock cannot tell two figures apart.
            Pairs that differ by less from each other show its grid and not their noise: the bounds
            are widened by it.
        gaps: what the tokens of these pairs' requests say of their noise; None: nothing.

    Raises:
        DataError: fewer than two pairs, or sides of different length.
    """
    allowed = TOLERANCES[metric] if tolerance is None else tolerance
    theta = theta_of(allowed)
    if min(*base, *new) <= 0:  # a clock that counts whole ms gives 0 for less than one
        return _without_ratio(metric, base, new, allowed)
    higher_is_better = METRICS[metric].better == "higher"
    is_disturbed = gaps is not None and gaps.is_disturbed
    if is_disturbed:
        prior, level = None, DISTURBED_LEVEL * level
    least = gaps.least.get(metric, 0.0) if gaps else 0.0
    ratios = ln_ratios(base, new, higher_is_better=higher_is_better)
    effect = paired_effect(ratios, prior, level, least)
    blur = math.log1p(resolution) if effect.s_tilde < resolution else 0.0
    bounds = _Bounds(effect.lower - blur, effect.upper + blur)
    return MetricVerdict(
        metric=metric,
        status=decide(bounds, theta).value,
        tolerance=allowed,
        base=statistics.median(base),
        new=statistics.median(new),
        change=effect.change,
        lower=math.expm1(bounds.lower),
        upper=math.expm1(bounds.upper),
        pairs=effect.n,
        pair_sd=effect.s_tilde,
        detectable_change=detectable_change(effect.n, effect.s_tilde, theta + blur, prior, level),
        pairs_to_decide=_pairs_to_decide(effect, theta, prior, blur),
        is_provisional=effect.is_provisional,
        p_worse=None if blur else effect.p_worse(theta),
        note=_of_grid(resolution) if blur else DISTURBED if is_disturbed else None,
    )


def clock_resolution(metric: str, samples: Sequence[Sample]) -> float:
    """The relative change of a time that the samples' clock can just tell; 0: any that matters.

    An engine that counts each step in whole ms rounds every one of them alike, so that a mean over
    many is as uncertain as one of them.
    """
    readings = [
        time_s * 1e3
        for sample in samples
        for time_s in (sample.ttft_s, sample.rct_s)
        if time_s is not None
    ]
    grid_ms = clock_grid(readings, COARSEST_MS) if readings else 0.0
    if metric == "ttft_s":
        times_ms = [sample.ttft_s * 1e3 for sample in samples if sample.ttft_s]
    elif metric in PER_TOKEN:
        times_ms = [sample.tpot_ms for sample in samples if sample.tpot_ms]
    else:
        return 0.0
    return grid_ms / min(times_ms) if times_ms else 0.0


def is_told(metric: str, resolution: float) -> bool:
    """Whether the clock tells a metric that is judged for the sake of another one.

    Of gaps that are 3 or 4 whole ms, the faster half says little more than which of both it is.
    """
    return metric not in FOR_ANOTHER or resolution <= _FINE


def _pairs_to_decide(
    effect: PairedEffect, theta: float, prior: VariancePrior | None, blur: float
) -> int | None:
    """None where no number of pairs helps, as where the clock cannot tell."""
    if blur and abs(effect.mean - theta) <= blur:
        return None
    try:
        return pairs_to_decide(effect, theta, prior)
    except DataError:
        return None


def _of_grid(resolution: float) -> str:
    return (
        f"the engine's clock tells changes of {resolution:.1%} and more only, and the pairs vary "
        "by less than that: more output tokens do not help, a slower model would"
    )


def _without_ratio(
    metric: str, base: Sequence[float], new: Sequence[float], tolerance: float
) -> MetricVerdict:
    return MetricVerdict(
        metric=metric,
        status="INCONCLUSIVE",
        tolerance=tolerance,
        base=statistics.median(base),
        new=statistics.median(new),
        change=None,
        lower=None,
        upper=None,
        pairs=len(base),
        pair_sd=None,
        detectable_change=None,
        pairs_to_decide=None,
        is_provisional=True,
        p_worse=None,
        note="a figure is 0: the engine's clock is too coarse for it, and a ratio needs more",
    )
