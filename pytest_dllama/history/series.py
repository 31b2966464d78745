"""Runs of many nights as series: one value a night for each cell and metric of the same work.

Two runs' figures belong to one series only if the cell, the request and the model are the same:
another prompt or another thread count begins another series, never a step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_dllama.history.store import StoredRun
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import Revision, RunRecord

# Of a request: what decides how much work a cell is. Repeats and warm-up do not.
WORK = (
    *("engine", "host_kind", "prompt", "steps", "nthreads", "buffer_float_type"),
    *("sync_mode", "temperature", "seed"),
)
MODEL = (
    *("arch", "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size"),
    *("weight_type", "size_bytes"),
)


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """What a series is of."""

    cell: str  # CellRecord.id
    metric: str
    work: str  # digest of request and model


@dataclass(frozen=True, slots=True)
class Point:
    """One night of a series."""

    run: str  # name in the history
    created_utc: str
    value: float  # median over the repeats, in the metric's unit
    n: int  # repeats
    revision: Revision | None


def work_of(run: RunRecord, model: str) -> dict[str, object]:
    """What a cell of this model had to do in this run, by field."""
    request = {name: getattr(run.request, name) for name in WORK}
    if not run.request.temperature:
        del request["seed"]  # the best token is taken: nothing is drawn
    record = next((m for m in run.models if m.name == model), None)
    facts = {f"model.{name}": getattr(record, name) for name in MODEL} if record else {}
    return request | facts


def work_digest(run: RunRecord, model: str) -> str:
    """The same for the same work."""
    text = json.dumps(work_of(run, model), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_sound(cell: CellRecord) -> bool:
    """Whether the figures of a cell may be compared with others at all."""
    is_wrong = cell.verdict is not None and cell.verdict.status in ("INVALID", "ERROR")
    return cell.status == "ok" and not is_wrong


def not_slowed(runs: Iterable[StoredRun]) -> Iterator[StoredRun]:
    """Those that nobody slowed down on purpose: the others show no level and no noise."""
    return (stored for stored in runs if not stored.run.request.inject)


def series_of(
    runs: Iterable[StoredRun], metrics: Sequence[str] | None = None
) -> dict[SeriesKey, tuple[Point, ...]]:
    """Every series of these runs, points in the order of the runs; unsound cells are left out.

    `metrics` are the wanted ones; None: all.
    """
    found: dict[SeriesKey, list[Point]] = {}
    for stored in runs:
        run = stored.run
        digests = {name: work_digest(run, name) for name in {cell.model for cell in run.cells}}
        for cell in filter(is_sound, run.cells):
            for metric, estimate in cell.metrics.items():
                if metrics is not None and metric not in metrics:
                    continue
                key = SeriesKey(cell.id, metric, digests[cell.model])
                point = Point(
                    stored.name, run.created_utc, estimate.value, estimate.n, run.revision
                )
                found.setdefault(key, []).append(point)
    return {key: tuple(points) for key, points in found.items()}
