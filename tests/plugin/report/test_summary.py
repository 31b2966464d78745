"""What the user sees while a run goes on and at its end."""

from __future__ import annotations

from pytest_dllama.hosts import controller
from pytest_dllama.record.cell import CellRecord, Estimate, OutputRecord, Verdict
from pytest_dllama.record.run import Request, RunRecord
from pytest_dllama.report.terminal.summary import summary_lines


def _estimate(value: float) -> Estimate:
    return Estimate(value=value, minimum=value, maximum=value, n=1)


def _run(*cells: CellRecord, notes: tuple[str, ...] = (), n_cores: int = 4) -> RunRecord:
    return RunRecord(
        created_utc="2026-01-02T03:04:05Z",
        environment=controller.probe_environment().model_copy(update={"cpu_count": n_cores}),
        request=Request(
            prompt="p", steps=8, repeats=1, warmup=0, nthreads=1, buffer_float_type="q80",
            sync_mode="reduce", temperature=0, seed=1, node_counts=(2, 4), engine="embedded",
            host_kind="local",
        ),
        models=(),
        cells=cells,
        definitions={},
        notes=notes,
    )  # fmt: skip


GOOD = CellRecord(
    model="tiny",
    nodes=2,
    status="ok",
    metrics={
        "tokens_per_s": _estimate(57.931),
        "tpot_ms": _estimate(1.6),
        "ttft_s": _estimate(0.009),
        "rct_s": _estimate(0.104),
        "root_peak_rss_bytes": _estimate(155 * 2**20),
        "worker_peak_rss_bytes": _estimate(159 * 2**20),
        "bytes_per_token": _estimate(9600),
    },
    output=OutputRecord(text="x", token_ids=(1,), status="tie"),
    verdict=Verdict(status="PASS", reasons=("a near tie",)),
)
FAILED = CellRecord(
    model="tiny",
    nodes=4,
    status="failed",
    error="worker 2 is gone",
    verdict=Verdict(status="ERROR", reasons=("worker 2 is gone",)),
)


def test_the_table_of_cells() -> None:
    assert summary_lines(_run(GOOD, FAILED, notes=("cores are shared",))) == [
        "cell    tokens/s  TPOT ms  TTFT s  RCT s  root MiB  worker MiB  MB/token  output  verdict",
        "tiny-2     57.93     1.60   0.009  0.104       155         159    0.0096  tie     PASS",
        "tiny-4         -        -       -      -         -           -         -  -       ERROR",
        "tiny-2, PASS: a near tie",
        "tiny-4, ERROR: worker 2 is gone",
        "note: cores are shared",
    ]


def test_a_run_that_was_slowed_down_on_purpose_says_so() -> None:
    run = _run(GOOD)
    slowed = run.model_copy(
        update={"request": run.request.model_copy(update={"inject": "ttft=20ms"})}
    )
    told = set(summary_lines(slowed)) - set(summary_lines(run))
    assert told == {"note: slowed down on purpose (--inject ttft=20ms)"}


def test_shared_cores_are_told_where_nodes_outnumber_them() -> None:
    *_, note = summary_lines(_run(GOOD, FAILED, n_cores=2))
    assert note.startswith("note: up to 4 threads shared the 2 cores of one machine: more nodes")
    assert not any("shared" in line for line in summary_lines(_run(GOOD, FAILED, n_cores=4)))
