"""Run records of many nights with stated times: what the watch and the tables are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pytest_dllama.metrics.definitions import estimate
from pytest_dllama.record.cell import CellRecord, Sample, Verdict
from pytest_dllama.record.run import Revision, RunRecord
from tests.plugin.report.report_runs import run as report_run

CLUSTER = "cluster"
FIRST_NIGHT = datetime(2026, 1, 1, 2, tzinfo=UTC)


def sample(tpot_ms: float, ttft_s: float = 0.1) -> Sample:
    """A request of eleven tokens that took so long."""
    rct_s = ttft_s + 10 * tpot_ms / 1e3
    return Sample(
        n_input_tokens=4, n_output_tokens=11, ttft_s=ttft_s, tpot_ms=tpot_ms, rct_s=rct_s,
        tokens_per_s=11 / rct_s, prefill_tokens=4, prefill_s=ttft_s, decode_tokens=10,
        decode_s=rct_s - ttft_s, load_s=0.5,
    )  # fmt: skip


def cell(
    tpots_ms: Sequence[float], model: str = "tiny", nodes: int = 2, **more: object
) -> CellRecord:
    """A sound cell with a repeat for each TPOT."""
    samples = tuple(map(sample, tpots_ms))
    names = ("ttft_s", "tpot_ms", "rct_s", "tokens_per_s", "load_s")
    told = {name: estimate([getattr(s, name) for s in samples]) for name in names}
    told["bytes_per_token"] = estimate([9608.0])
    values: dict[str, object] = {
        "model": model, "nodes": nodes, "status": "ok", "samples": samples,
        "metrics": {name: value for name, value in told.items() if value is not None},
        "verdict": Verdict(status="PASS"),
    }  # fmt: skip
    return CellRecord.model_validate({**values, **more})


def night_run(night: int, cells: Sequence[CellRecord], **more: object) -> RunRecord:
    """The run of one night, counted from 0."""
    created = FIRST_NIGHT + timedelta(days=night)
    revision = Revision(
        commit=f"{night:040x}", committed_utc=created.isoformat(), subject=f"change {night}"
    )
    changes = {
        "created_utc": f"{created:%Y-%m-%dT%H:%M:%SZ}", "fingerprint": CLUSTER,
        "revision": revision, **more,
    }  # fmt: skip
    return report_run(cells).model_copy(update=changes)


def slowed(run: RunRecord, inject: str = "tpot=50%") -> RunRecord:
    """The same run as one that was slowed down on purpose."""
    request = run.request.model_copy(update={"inject": inject})
    return run.model_copy(update={"request": request})
