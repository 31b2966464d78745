"""A new run against a stored one: unpaired, and never sure of the night. See docs/statistics.md.

Knows nothing of files and processes; the mathematics is `stats.unpaired`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.metrics.repeats import OF_SAMPLE, values_of
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.verdict import MetricVerdict
from pytest_dllama.stats.decision import decide, theta_of
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.unpaired import MIN_NIGHTS, UnpairedEffect, against_stored, night_noise

LEVEL = 0.05  # one-sided, of each bound: there is one look
FEWEST = 2  # sessions of a side


@dataclass(frozen=True, slots=True)
class StoredSide:
    """What the stored run says of one cell."""

    cell: CellRecord
    nights: Mapping[str, Sequence[float]]  # metric -> nightly medians of the same work


def judge_stored(
    stored: StoredSide,
    new: CellRecord,
    tolerances: Mapping[str, float],
    priors: Mapping[str, VariancePrior | None],
) -> tuple[MetricVerdict, ...]:
    """The verdict of every metric that both have in at least two sessions.

    One of which run files keep no sessions is INCONCLUSIVE: it was asked for, and only pairs tell.
    """
    found = []
    for metric, tolerance in tolerances.items():
        base, now = _positive(stored.cell, metric), _positive(new, metric)
        if min(len(base), len(now)) >= FEWEST:
            nights = stored.nights.get(metric, ())
            found.append(_judge(metric, base, now, nights, tolerance, priors.get(metric)))
        elif metric not in OF_SAMPLE and metric in stored.cell.metrics and metric in new.metrics:
            found.append(_without_sessions(metric, stored.cell, new, tolerance))
    return tuple(found)


def _positive(cell: CellRecord, metric: str) -> list[float]:
    """One value a session; 0 has no logarithm, as of a clock that is too coarse."""
    return [value for value in values_of(cell, metric) if value > 0]


def _without_sessions(
    metric: str, stored: CellRecord, new: CellRecord, tolerance: float
) -> MetricVerdict:
    return MetricVerdict(
        metric=metric,
        status="INCONCLUSIVE",
        is_paired=False,
        tolerance=tolerance,
        base=stored.metrics[metric].value,
        new=new.metrics[metric].value,
        change=None,
        lower=None,
        upper=None,
        pairs=min(len(stored.samples), len(new.samples)),
        pair_sd=None,
        detectable_change=None,
        pairs_to_decide=None,
        is_provisional=True,
        p_worse=None,
        note="a run file has no single sessions of it; pairs (--baseline git:REV) compare it",
    )


def _judge(
    metric: str,
    base: Sequence[float],
    new: Sequence[float],
    nights: Sequence[float],
    tolerance: float,
    prior: VariancePrior | None,
) -> MetricVerdict:
    theta = theta_of(tolerance)
    effect = against_stored(
        base,
        new,
        night_noise([math.log(value) for value in nights if value > 0]),
        prior,
        LEVEL,
        higher_is_better=METRICS[metric].better == "higher",
    )
    return MetricVerdict(
        metric=metric,
        status=decide(effect, theta).value,
        is_paired=False,
        tolerance=tolerance,
        base=statistics.median(base),
        new=statistics.median(new),
        change=effect.change,
        lower=_relative(effect.lower),
        upper=_relative(effect.upper),
        pairs=min(len(base), len(new)),
        pair_sd=None,
        detectable_change=None,
        pairs_to_decide=None,
        is_provisional=effect.night is None,
        p_worse=None,
        note=_note(effect, len(nights)),
    )


def _relative(bound: float) -> float | None:
    return math.expm1(bound) if math.isfinite(bound) else None


def _note(effect: UnpairedEffect, n_nights: int) -> str:
    sessions = f"{effect.n_stored} stored and {effect.n_new} new sessions of different nights"
    if effect.night is None:
        return (
            f"{sessions}, and how much nights differ here is not known: it takes {MIN_NIGHTS} runs "
            f"of the same work in the history, {n_nights} are there; pairs (--baseline git:REV) "
            "need none"
        )
    return f"{sessions}; nights differ by {effect.night.sd:.1%} ({effect.night.nights} of them)"
