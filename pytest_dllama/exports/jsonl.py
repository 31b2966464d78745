"""JSON lines: first the run, then one line for each measured request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pytest_dllama.record.run import RunRecord

FORMAT = 1  # of these lines; a key may be added under the same number


def jsonl_lines(run: RunRecord) -> Iterator[str]:
    """The lines, without their ends; a figure that is missing is null, never zero."""
    yield _line(
        {
            "record": "run",
            "format": FORMAT,
            "created_utc": run.created_utc,
            "cluster": run.fingerprint,
            "engine": run.request.engine,
            "prompt": run.request.prompt,
            "steps": run.request.steps,
            "nthreads": run.request.nthreads,
            "buffer_float_type": run.request.buffer_float_type,
            "sync_mode": run.request.sync_mode,
            "definitions": run.definitions,
        }
    )
    for cell in run.cells:
        if not cell.samples:
            yield _line(_of_cell(run, cell.id) | {"status": cell.status, "error": cell.error})
        for repeat, sample in enumerate(cell.samples, start=1):
            figures = sample.model_dump(mode="json", exclude={"parts"})
            verdict = cell.verdict.status if cell.verdict else None
            yield _line(
                _of_cell(run, cell.id)
                | {"model": cell.model, "nodes": cell.nodes, "verdict": verdict}
                | {"workload": cell.workload.model_dump(mode="json"), "repeat": repeat, **figures}
            )


def _of_cell(run: RunRecord, cell: str) -> dict[str, Any]:
    return {"record": "request", "created_utc": run.created_utc, "cell": cell}


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)
