"""The one road to the record of a cell: a live engine's repeats and those of a log take it alike.

From traces to figures, from figures to what speaks against them, to limits, to the verdict. Starts
nothing and knows no files.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.metrics.boards import computing
from pytest_dllama.metrics.catalog import cell_metrics
from pytest_dllama.metrics.definitions import median_index
from pytest_dllama.metrics.loading import loading_record
from pytest_dllama.metrics.network import network_record
from pytest_dllama.metrics.percentiles import cell_percentiles
from pytest_dllama.metrics.samples import cannot_be, rank_records
from pytest_dllama.record.cell import (
    CellRecord,
    Commands,
    Estimate,
    OutputRecord,
    RooflineRecord,
    Sample,
    Workload,
)
from pytest_dllama.record.emulation import CellLinks, RankCompute
from pytest_dllama.record.energy import EnergyRecord
from pytest_dllama.validity.faults import faults
from pytest_dllama.validity.roofline import share
from pytest_dllama.verdict.judge import judge
from pytest_dllama.verdict.limits.limit import Threshold

NO_SWEEP = Workload()


@dataclass(frozen=True, slots=True)
class MeasuredCell:
    """What is known of a cell whose repeats all ended well.

    Attributes:
        model: name of the model.
        nodes: node count, the root counted.
        traces: one a repeat, at least one.
        samples: `sample_of` each trace.
        output: how the output compares with the oracle's.
        workload: what distinguishes it beside model and node count.
        roofline: how fast memory alone would let it decode, where that is known.
        energy: what its machines took, where somebody asked.
        commands: that run the cell by hand.
        logs: names relative to the run file.
        max_seq_len: positions of the KV cache, where that is known.
        links: how well emulated ones were kept.
        memory_bps: bytes a second of the memory of the boards that its ranks emulated.
    """

    model: str
    nodes: int
    traces: Sequence[RequestTrace]
    samples: Sequence[Sample]
    output: OutputRecord
    workload: Workload = NO_SWEEP
    roofline: RooflineRecord | None = None
    energy: EnergyRecord | None = None
    commands: Commands | None = None
    logs: Sequence[str] = ()
    max_seq_len: int | None = None
    links: CellLinks | None = None
    memory_bps: float | None = None

    def figures(self) -> dict[str, Estimate]:
        """Every metric that has a value, by name."""
        found = cell_metrics(self.traces, self.samples)
        if (part := share(self.roofline, found.get("tpot_ms"))) is not None:
            found["roofline_share"] = part
        return found

    def computing(self) -> tuple[RankCompute, ...]:
        """What each rank of emulated boards computed; empty without boards."""
        read_bytes = self.roofline.read_bytes if self.roofline else ()
        return computing(read_bytes, self.memory_bps, self.samples)


def cell_record(
    cell: MeasuredCell,
    limits: Sequence[Threshold] = (),
    cannot_give: Collection[str] = (),
) -> CellRecord:
    """The record of a measured cell, judged.

    Args:
        cell: what is known of it.
        limits: thresholds of this cell.
        cannot_give: metrics that the engine never tells: without a value their limits are passed
            by, where any other metric without a value misses its limit.
    """
    figures, computed = cell.figures(), cell.computing()
    absent = {*cannot_give, *cannot_be(cell.samples)}
    judged = [t for t in limits if t.metric in figures or t.metric not in absent]
    results = tuple(limit.check(figures.get(limit.metric)) for limit in judged)
    found = faults(cell.traces, cell.output, cell.roofline, cell.samples, cell.links, computed)
    median = cell.traces[median_index([sample.rct_s or 0.0 for sample in cell.samples])]
    return CellRecord(
        model=cell.model,
        nodes=cell.nodes,
        workload=cell.workload,
        max_seq_len=cell.max_seq_len,
        status="ok",
        commands=cell.commands,
        samples=tuple(cell.samples),
        metrics=figures,
        percentiles=cell_percentiles(cell.samples),
        ranks=rank_records(median),
        network=network_record(cell.traces, median),
        loading=loading_record(median),
        output=cell.output,
        thresholds=results,
        roofline=cell.roofline,
        energy=cell.energy,
        verdict=judge(faults=found, output=cell.output, thresholds=results),
        links=cell.links,
        computing=computed,
        logs=tuple(cell.logs),
    )


def failed_cell(
    model: str,
    nodes: int,
    error: str,
    logs: Sequence[str] = (),
    *,
    workload: Workload = NO_SWEEP,
    skipped: bool = False,
) -> CellRecord:
    """The record of a cell without figures; a skipped one asked for none and has no verdict."""
    return CellRecord(
        model=model,
        nodes=nodes,
        workload=workload,
        status="skipped" if skipped else "failed",
        error=error,
        logs=tuple(logs),
        verdict=None if skipped else judge(error=error),
    )
