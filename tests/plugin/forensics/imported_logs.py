"""Logs of the samples, changed or whole, and what is made of them."""

from __future__ import annotations

import math
from pathlib import Path

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportOptions
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from tests.plugin.backends.sample_logs import LOGS, NAMES, read

WORKERS = [f"fork_inference_n4.worker{rank}.log" for rank in (1, 2, 3)]


ROOTS = [name for name in NAMES if "worker1" not in name and name not in WORKERS]


def imported(*names: str, **options: object) -> RunRecord:
    return import_logs([LOGS / name for name in names], ImportOptions(**options))  # type: ignore[arg-type]


def written(folder: Path, text: str, name: str = "root.log") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def cell_of(path: Path, **options: object) -> CellRecord:
    (cell,) = import_logs([path], ImportOptions(**options)).cells  # type: ignore[arg-type]
    return cell


def fork_with(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = read("fork_inference_n2.log")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return written(tmp_path, text)


def no_silent_zero(cell: CellRecord) -> None:
    if cell.status != "ok":
        assert cell.error
        return
    assert cell.samples
    for sample in cell.samples:
        assert sample.n_output_tokens > 0
        assert sample.rct_s is None or sample.rct_s > 0
        assert sample.prefill_s is None or sample.prefill_s > 0
    for name, estimate in cell.metrics.items():
        assert math.isfinite(estimate.value), name
        assert estimate.value > 0 or name == "sync_share", name
    if cell.network is not None:
        assert cell.network.operations > 0
        assert cell.network.total_bytes > 0
