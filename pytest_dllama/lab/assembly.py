"""Puts together the records of a run file from what a session measured; starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.cluster import Worker
from pytest_dllama.lab.runner import RequestRun
from pytest_dllama.metrics import definitions
from pytest_dllama.metrics.catalog import cell_metrics
from pytest_dllama.metrics.network import network_record
from pytest_dllama.metrics.samples import rank_records, sample_of
from pytest_dllama.record.cell import CellRecord, Commands, OutputRecord, RooflineRecord
from pytest_dllama.record.run import Request
from pytest_dllama.validity import roofline
from pytest_dllama.validity.faults import faults
from pytest_dllama.verdict.judge import judge
from pytest_dllama.verdict.thresholds import Threshold


def measured_cell(
    key: CellKey,
    runs: Sequence[RequestRun],
    workers: Sequence[Worker],
    output: OutputRecord,
    limits: Sequence[Threshold],
    folder: Path,
    roof: RooflineRecord | None = None,
) -> CellRecord:
    """The record of a cell whose repeats all ended well; `folder` is the run file's."""
    traces = [run.trace for run in runs]
    samples = tuple(sample_of(trace) for trace in traces)
    median = traces[definitions.median_index([sample.rct_s for sample in samples])]
    figures = cell_metrics(traces, samples)
    if (share := roofline.share(roof, figures.get("tpot_ms"))) is not None:
        figures["roofline_share"] = share
    found = faults(traces, output, roof, samples)
    results = tuple(limit.check(figures.get(limit.metric)) for limit in limits)
    logs = [file for run in runs for file in run.log_files]
    logs += [file for worker in workers for file in worker.process.log_files]
    return CellRecord(
        model=key.model,
        nodes=key.nodes,
        status="ok",
        commands=Commands(
            root=runs[-1].command, workers=tuple(worker.command for worker in workers)
        ),
        samples=samples,
        metrics=figures,
        ranks=rank_records(median),
        network=network_record(traces, median),
        output=output,
        thresholds=results,
        roofline=roof,
        verdict=judge(faults=found, output=output, thresholds=results),
        logs=_relative(logs, folder),
    )


def failed_cell(key: CellKey, error: str, logs: Sequence[Path], folder: Path) -> CellRecord:
    """The record of a cell without figures."""
    return CellRecord(
        model=key.model,
        nodes=key.nodes,
        status="failed",
        error=error,
        logs=_relative(logs, folder),
        verdict=judge(error=error),
    )


def _relative(files: Sequence[Path], folder: Path) -> tuple[str, ...]:
    return tuple(file.relative_to(folder).as_posix() for file in files)


def request_record(
    config: LabConfig, engine: str, host_kind: Literal["local", "ssh"], n_batches: int | None
) -> Request:
    """What every cell was asked to do; `n_batches` is the engine's own choice."""
    return Request(
        prompt=config.prompt,
        steps=config.steps,
        repeats=config.repeats,
        warmup=config.warmup,
        nthreads=config.nthreads,
        buffer_float_type=config.buffer_float_type,
        sync_mode=config.sync_mode,
        temperature=config.temperature,
        seed=config.seed,
        node_counts=config.node_counts,
        engine=engine,
        host_kind=host_kind,
        n_batches=n_batches,
    )


def in_one_line(record: CellRecord) -> str:
    """A finished cell, for the progress lines."""
    key = CellKey(record.model, record.nodes)
    if record.error is not None:
        return f"{key}: failed: {record.error}"
    tokens_per_s, ttft_s = (record.metrics[name].value for name in ("tokens_per_s", "ttft_s"))
    return f"{key}: {tokens_per_s:.2f} tokens/s, TTFT {ttft_s:.3f} s"
