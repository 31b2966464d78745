"""Creep: many tolerated changes in a row. A run is compared with the anchor before it is accepted.

Unpaired, for the anchor cannot be measured again: weaker than pairs, and never surer than the
machine's nights are alike. Without their noise nothing is proven, and the change is only shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_dllama.history.series import is_sound, work_digest
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.metrics.repeats import values_or_median
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.stats.decision import Decision, decide, theta_of
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.unpaired import NightNoise, against_stored
from pytest_dllama.verdict.limits.limit import TOLERANCES


@dataclass(frozen=True, slots=True)
class Creep:
    """How far one metric of one cell is from the anchor; changes are relative, plus is worse."""

    cell: str
    metric: str
    anchor: float
    new: float
    change: float
    lower: float | None  # one-sided bounds, 5 % each; None: the noise of nights is not known
    upper: float | None
    tolerance: float
    decision: Decision

    @property
    def is_seen(self) -> bool:
        """Whether the change itself is beyond the tolerance, proven or not."""
        return self.change > self.tolerance


def creep(
    anchor: RunRecord,
    run: RunRecord,
    nights: Mapping[tuple[str, str], NightNoise],
    priors: Mapping[str, VariancePrior | None],
) -> list[Creep]:
    """Every judged metric of every cell that both runs have, of the same work.

    Args:
        anchor: the run to measure from.
        run: the run to be accepted.
        nights: the noise of nights, by cell and metric, where it is known.
        priors: of the variance of a pair, by metric.
    """
    return list(_creep(anchor, run, nights, priors))


def _creep(
    anchor: RunRecord,
    run: RunRecord,
    nights: Mapping[tuple[str, str], NightNoise],
    priors: Mapping[str, VariancePrior | None],
) -> Iterator[Creep]:
    known = {cell.id: cell for cell in anchor.cells if is_sound(cell)}
    for cell in filter(is_sound, run.cells):
        before = known.get(cell.id)
        if before is None or work_digest(anchor, cell.model) != work_digest(run, cell.model):
            continue
        for metric in TOLERANCES:
            night, prior = nights.get((cell.id, metric)), priors.get(metric)
            first, second = _positive(before, metric), _positive(cell, metric)
            if first and second:
                yield _one(cell.id, metric, first, second, night, prior)


def _positive(cell: CellRecord, metric: str) -> list[float]:
    """What has a logarithm."""
    return [value for value in values_or_median(cell, metric) if value > 0]


def _one(
    cell: str,
    metric: str,
    first: list[float],
    second: list[float],
    night: NightNoise | None,
    prior: VariancePrior | None,
) -> Creep:
    tolerance = TOLERANCES[metric]
    is_higher = METRICS[metric].better == "higher"
    anchor, new = statistics.median(first), statistics.median(second)
    lower, upper = -math.inf, math.inf
    change = (anchor / new if is_higher else new / anchor) - 1
    decision = Decision.INCONCLUSIVE
    if min(len(first), len(second)) > 1:
        found = against_stored(first, second, night, prior, higher_is_better=is_higher)
        change, lower, upper = found.change, found.lower, found.upper
        decision = decide(found, theta_of(tolerance))
    return Creep(
        cell, metric, anchor, new, change,
        math.expm1(lower) if math.isfinite(lower) else None,
        math.expm1(upper) if math.isfinite(upper) else None,
        tolerance, decision,
    )  # fmt: skip
