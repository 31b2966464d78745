"""What A/A pairs of a cluster showed: every pair's difference by cell and metric, and its price."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pytest_dllama.history.ledger import Ledger
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.base import Record
from pytest_dllama.record.cell import Workload
from pytest_dllama.record.verdict import CellVerdict, VerdictFile, known_requests
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.paired import ln_ratios

CALIBRATION_VERSION = 2  # 2: sessions of several requests


class MetricNoise(Record):
    """The A/A pairs of one metric of one cell."""

    metric: str
    differences: tuple[float, ...]  # ln(new / base), in the order of the pairs; the sign is chance
    median: float  # over both sides, in the metric's unit
    tolerance: float
    requests: int = 1  # of a session; of sessions with more only the first so many


class CellNoise(Record):
    """The A/A pairs of one cell."""

    model: str
    nodes: int
    workload: Workload = Workload()
    metrics: tuple[MetricNoise, ...]
    pair_s: float | None = None  # what a pair takes, starts included; None: not told
    requests: int = 1  # of each session of these pairs
    further_s: float | None = None  # what one more request of a side takes

    def cost_s(self, requests: int) -> float | None:
        """What a pair takes whose sessions have so many requests, not more than these had.

        Not less than these requests' share of the pair: starts take no time below zero.
        """
        if self.pair_s is None or requests == self.requests:
            return self.pair_s
        without = self.pair_s - 2 * (self.requests - requests) * (self.further_s or 0.0)
        return max(without, self.pair_s * requests / self.requests)

    @property
    def id(self) -> str:
        """As in test ids, tables and log names."""
        return f"{self.model}-{self.nodes}{self.workload.suffix}"


class Calibration(Record):
    """One calibration of a cluster."""

    schema_version: Annotated[int, Field(ge=1, le=CALIBRATION_VERSION)] = CALIBRATION_VERSION
    created_utc: str
    engine: str
    prompt: str
    steps: int | None  # None: workloads of a sweep
    pairs: int
    wall_s: float
    pair_s: float  # the mean over all cells, what comes before the first pair included
    cells: tuple[CellNoise, ...]
    left_out: tuple[str, ...] = ()  # cells without figures, and why


def calibrations(store: RunStore) -> Ledger[Calibration]:
    """Of one cluster."""
    return Ledger(store.cluster / "calibrations", Calibration)


def calibration_of(found: VerdictFile, engine: str) -> Calibration:
    """What an A/A verdict file teaches.

    Raises:
        DataError: not A/A, or no valid cell with pairs in it.
    """
    if found.baseline != "self":
        raise DataError(f"a calibration is A/A: --baseline self, not {found.baseline}")
    if found.inject:
        raise DataError(f"a calibration is A/A: leave out --inject {found.inject}")
    good = [cell for cell in found.cells if cell.status not in ("INVALID", "ERROR")]
    bad = tuple(f"{c.id}: {c.status}: {'; '.join(c.reasons)}" for c in found.cells if c not in good)
    cells = [noise for cell in good if (noise := _noise(cell)).metrics]
    taken = sum(len({session.pair for session in cell.sessions}) for cell in found.cells)
    if not cells:
        raise DataError(f"no cell was calibrated: {'; '.join(bad) or 'none has a pair'}")
    return Calibration(
        created_utc=found.created_utc,
        engine=engine,
        prompt=found.prompt,
        steps=found.steps,
        pairs=max(len(metric.differences) for cell in cells for metric in cell.metrics),
        wall_s=found.wall_s,
        pair_s=found.wall_s / taken,
        cells=tuple(cells),
        left_out=bad,
    )


def _noise(cell: CellVerdict) -> CellNoise:
    metrics = [
        MetricNoise(
            metric=verdict.metric,
            differences=tuple(ln_ratios(base, new).tolist()),
            median=sorted([*base, *new])[len(base)],
            tolerance=verdict.tolerance,
            requests=requests,
        )
        for verdict in cell.metrics
        for requests in known_requests(cell.requests)
        for base, new in [_sides(cell, verdict.metric, requests)]
        if len(base) > 1
    ]
    taken = len({session.pair for session in cell.sessions})
    return CellNoise(
        model=cell.model,
        nodes=cell.nodes,
        workload=cell.workload,
        metrics=tuple(metrics),
        pair_s=cell.pairs_s / taken if cell.pairs_s and taken else None,
        requests=cell.requests,
        further_s=cell.further_s,
    )


def _sides(cell: CellVerdict, metric: str, requests: int) -> tuple[list[float], list[float]]:
    """Values of the pairs that have both, in their order, of each session's first requests."""
    by_pair: dict[int, dict[str, float]] = {}
    for session in cell.sessions:
        value = session.value(metric, requests)
        if value is not None and value > 0:
            by_pair.setdefault(session.pair, {})[session.side] = value
    whole = [both for _, both in sorted(by_pair.items()) if len(both) == 2]
    return [both["base"] for both in whole], [both["new"] for both in whole]
