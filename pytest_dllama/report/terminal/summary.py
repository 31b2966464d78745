"""The table of cells at the end of a run, as plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.rules.hosts import shared_machines
from pytest_dllama.report.terminal.beside import percentile_lines, roofline_lines
from pytest_dllama.report.terminal.columns import aligned
from pytest_dllama.report.terminal.emulation import emulation_lines
from pytest_dllama.report.terminal.machines import host_lines

MEBI = 2**20
# Title, metric, divisor, format
_FIGURES = (
    ("tokens/s", "tokens_per_s", 1, ".2f"),
    ("TPOT ms", "tpot_ms", 1, ".2f"),
    ("TTFT s", "ttft_s", 1, ".3f"),
    ("RCT s", "rct_s", 1, ".3f"),
    ("root MiB", "root_peak_rss_bytes", MEBI, ".0f"),
    ("worker MiB", "worker_peak_rss_bytes", MEBI, ".0f"),
    ("MB/token", "bytes_per_token", 1e6, ".4f"),
)
_HEADER = ("cell", *(title for title, *_ in _FIGURES), "output", "verdict")
_RIGHT = range(1, 8)  # columns of numbers


def summary_lines(run: RunRecord) -> list[str]:
    """Header, one line a cell, and the reasons of every verdict that is not a plain PASS."""
    rows = [_HEADER, *(_row(cell) for cell in run.cells)]
    emulated = emulation_lines(run)
    machines = host_lines(run.hosts, run.pairs)
    roof = roofline_lines(run.cells)
    percentiles = percentile_lines(run.cells)
    return [
        *(*emulated[:1], *aligned(rows, _RIGHT), *emulated[1:], *percentiles),
        *(*machines, *roof, *_reasons(run.cells), *_notes(run)),
    ]


def _row(cell: CellRecord) -> tuple[str, ...]:
    return (
        f"{cell.id} ↻" if cell.retried else cell.id,
        *(_figure(cell, metric, unit, form) for _, metric, unit, form in _FIGURES),
        cell.output.status if cell.output else "-",
        cell.verdict.status if cell.verdict else "-",
    )


def _figure(cell: CellRecord, metric: str, unit: float, form: str) -> str:
    estimate = cell.metrics.get(metric)
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    return format(estimate.value / unit, form)


def _reasons(cells: Sequence[CellRecord]) -> list[str]:
    retried = [f"{cell.id}, measured anew ↻: {cell.retried}" for cell in cells if cell.retried]
    return retried + [
        f"{cell.id}, {cell.verdict.status}: {reason}"
        for cell in cells
        if cell.verdict
        for reason in cell.verdict.reasons
    ]


def _notes(run: RunRecord) -> list[str]:
    inject = run.request.inject
    slowed = [f"slowed down on purpose (--inject {inject})"] if inject else []
    return [f"note: {note}" for note in (*slowed, *_sharing(run), *run.notes)]


def _sharing(run: RunRecord) -> list[str]:
    """What to know of nodes that are processes of one machine; the report says it too."""
    if run.hosts:
        return [
            f"{', '.join(shared.names)} are one machine: its cores and its memory were shared"
            for shared in shared_machines(run.hosts)
        ]
    n_threads = max((cell.nodes for cell in run.cells), default=0) * (run.request.nthreads or 1)
    n_cores = run.environment.cpu_count
    if run.request.host_kind != "local" or n_threads <= n_cores:
        return []
    return [
        f"up to {n_threads} threads shared the {n_cores} cores of one machine: more nodes cannot "
        "be faster here; the figures show overheads, not the speed of separate machines"
    ]
