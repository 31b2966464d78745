"""Every sample of a run as CSV, one measured request a line, for spreadsheets and notebooks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.record.cell import TIMES, CellRecord, Percentiles, Sample
from pytest_dllama.record.run import RunRecord

_LISTS = ("itl_ms",)  # several values in a field, with spaces between
_RECORDS = ("parts",)  # of the run file: no plain values
FIGURES = tuple(name for name in Sample.model_fields if name not in (*_LISTS, *_RECORDS))
WORKLOAD = ("prompt_tokens", "output_tokens", "context_depth", "options")
# Of the whole cell, the same in each of its lines; empty where there are too few samples.
_RANKS = tuple(name for name in Percentiles.model_fields if name != "n")
PERCENTILES = tuple(f"{name}_{rank}" for name in TIMES for rank in _RANKS)
COLUMNS = (
    "created_utc", "engine", "prompt", "steps", "model", "nodes", *WORKLOAD, "cell", "repeat",
    "verdict", "error", *FIGURES, *PERCENTILES, *_LISTS,
)  # fmt: skip


def write_samples(run: RunRecord, path: Path) -> Path:
    """Write all samples, whole or not at all; a cell without any has a line with its error.

    A missing value is an empty field. Raises OSError where the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for cell in run.cells:
        writer.writerows(_lines(run, cell))
    return write_whole(path, text.getvalue())


def _lines(run: RunRecord, cell: CellRecord) -> Iterator[dict[str, object]]:
    shared: dict[str, object] = {
        "created_utc": run.created_utc,
        "engine": run.request.engine,
        "prompt": run.request.prompt,
        "steps": run.request.steps,
        "model": cell.model,
        "nodes": cell.nodes,
        **{name: getattr(cell.workload, name) for name in WORKLOAD[:-1]},
        "options": " ".join(f"{name}={value}" for name, value in cell.workload.options),
        "cell": cell.id,
        **_percentiles(cell),
        "verdict": cell.verdict.status if cell.verdict else "",
        "error": cell.error or "",
    }
    if not cell.samples:
        yield shared
    for n, sample in enumerate(cell.samples, start=1):
        figures = {name: getattr(sample, name) for name in FIGURES}
        lists = {name: " ".join(map(str, getattr(sample, name))) for name in _LISTS}
        yield shared | {"repeat": n} | figures | lists


def _percentiles(cell: CellRecord) -> dict[str, object]:
    return {
        f"{name}_{rank}": getattr(found, rank)
        for name, found in cell.percentiles.items()
        for rank in _RANKS
    }
