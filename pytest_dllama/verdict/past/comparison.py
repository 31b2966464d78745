"""Two runs side by side, cell by cell: median, interval, change, p and n, as benchstat shows them.

Unpaired: whatever moved the machine between the two runs is in the change. It informs; a verdict is
what pairs are for (docs/verdicts.md).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dllama.history.series import is_sound, work_of
from pytest_dllama.metrics.catalog import METRICS, Metric
from pytest_dllama.metrics.repeats import values_or_median
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.stats.intervals import geometric_mean_interval
from pytest_dllama.stats.unpaired import welch

SIGNIFICANT = 0.05  # two-sided
Outcome = Literal["worse", "better", "~", "changed", "same", "?"]


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one cell in one run."""

    median: float
    lower: float | None  # 95 % interval of the geometric mean; None below two values
    upper: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one cell in both runs."""

    cell: str
    metric: str
    unit: str
    base: Summary
    new: Summary
    change: float | None  # new / base - 1 of geometric means; None where base is 0
    worsening: float | None  # the same, turned so that plus is worse, as tolerances take it
    p: float | None  # two-sided, Welch on logarithms; None below two values a side
    outcome: Outcome


def differing_work(base: RunRecord, new: RunRecord) -> list[str]:
    """Why figures of the two runs are not of the same thing, a sentence each."""
    found: dict[str, None] = {}
    if base.fingerprint != new.fingerprint:
        found[f"other machines: {base.fingerprint} and {new.fingerprint}"] = None
    for model in _common([c.model for c in base.cells], [c.model for c in new.cells]):
        first, second = work_of(base, model), work_of(new, model)
        for name in dict.fromkeys([*first, *second]):
            one, two = first.get(name), second.get(name)
            if one != two:
                what = f"{model}'s {name.removeprefix('model.')}" if "." in name else name
                found[f"other {what}: {one} and {two}"] = None
    return list(found)


def compare_runs(
    base: RunRecord, new: RunRecord, metrics: Collection[str] | None = None
) -> list[Row]:
    """A row for each cell and metric that both runs have; `metrics` are the wanted ones."""
    cells = {cell.id: cell for cell in base.cells if is_sound(cell)}
    return [
        row
        for cell in new.cells
        if is_sound(cell) and cell.id in cells
        for row in _rows(cells[cell.id], cell, metrics)
    ]


def left_out(base: RunRecord, new: RunRecord) -> list[str]:
    """Cells without a row, and why, a sentence each."""
    found = []
    for name, run, other in (("the first run", base, new), ("the second run", new, base)):
        ids = {cell.id for cell in other.cells}
        for cell in run.cells:
            if cell.id not in ids:
                found.append(f"{cell.id}: only in {name}")
            elif not is_sound(cell):
                status = cell.verdict.status if cell.verdict else cell.status
                found.append(f"{cell.id}: {status} in {name}")
    return found


def without_figures(base: RunRecord, new: RunRecord) -> list[str]:
    """Cells that were sound and are not any more, a sentence each; a narrower run lacks none."""
    were = {cell.id for cell in base.cells if is_sound(cell)}
    return [
        f"{cell.id}: {cell.verdict.status if cell.verdict else cell.status} in the second run"
        for cell in new.cells
        if cell.id in were and not is_sound(cell)
    ]


def _common(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(first) if name in second]


def _rows(base: CellRecord, new: CellRecord, metrics: Collection[str] | None) -> Iterator[Row]:
    for name, metric in METRICS.items():
        if metrics is not None and name not in metrics:
            continue
        first, second = values_or_median(base, name), values_or_median(new, name)
        if first and second:
            yield _row(new.id, metric, first, second)


def _row(cell: str, metric: Metric, first: Sequence[float], second: Sequence[float]) -> Row:
    base, new = _summary(first), _summary(second)
    change = new.median / base.median - 1 if base.median else None
    p = None
    if min(*first, *second) > 0 and min(len(first), len(second)) > 1:
        test = welch(first, second)
        change, p = test.ratio.value - 1, test.p
    return Row(
        cell, metric.name, metric.unit, base, new, change, _worsening(change, metric), p,
        _outcome(metric, change, p),
    )  # fmt: skip


def _worsening(change: float | None, metric: Metric) -> float | None:
    """As tolerances count: a rate that halves is as bad as a time that doubles."""
    if change is None or metric.better == "exact":
        return None
    if metric.better == "lower":
        return change
    return 1 / (1 + change) - 1 if change > -1 else math.inf


def _outcome(metric: Metric, change: float | None, p: float | None) -> Outcome:
    if metric.better == "exact":
        return "same" if change == 0 else "changed"
    if p is None or change is None:
        return "?"  # nothing tells noise from change
    if p >= SIGNIFICANT:
        return "~"
    return "worse" if (change > 0) == (metric.better == "lower") else "better"


def _summary(values: Sequence[float]) -> Summary:
    median = statistics.median(values)
    if len(values) < 2 or min(values) <= 0:
        return Summary(median, None, None, len(values))
    found = geometric_mean_interval(values)
    return Summary(median, found.lower, found.upper, len(values))
