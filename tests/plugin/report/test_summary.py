"""What the user sees while a run goes on and at its end."""

from __future__ import annotations

import io

from pytest_dllama.hosts import controller
from pytest_dllama.lab.progress import LiveLine, PlainLines
from pytest_dllama.record.cell import CellRecord, Estimate, OutputRecord, Verdict
from pytest_dllama.record.run import Request, RunRecord
from pytest_dllama.report.pages.terminal import summary_lines


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


def test_the_live_line_is_redrawn_and_leaves_nothing() -> None:
    file = io.StringIO()
    begun: list[int] = []
    line = LiveLine(file, lambda: begun.append(1))
    with line.running():
        line.stage("tiny on 2 nodes: repeat 1/3")
        line.detail("12 tokens")
    text = file.getvalue()
    assert "tiny on 2 nodes: repeat 1/3" in text
    assert "12 tokens" in text
    assert text.rstrip().endswith("\x1b[2K")  # the last thing done is to wipe the line
    assert begun == [1]


def test_the_live_line_keeps_to_one_line() -> None:
    file = io.StringIO()
    line = LiveLine(file)
    with line.running():
        line.stage("a model with a name that is far too long for any terminal " * 9)
        line.bar(1, 3)
    drawn = file.getvalue().split("\x1b[?25h")[0]
    assert drawn.count("\n") <= 1


def test_plain_lines_are_stages_and_results() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append)
    with plain.running():
        plain.stage("provisioning")
        plain.detail("12 tokens")
        plain.bar(1, 2)
        plain.settle("tiny on 2 nodes: 57.9 tokens/s")
    assert lines == ["dllama: provisioning", "dllama: tiny on 2 nodes: 57.9 tokens/s"]


def test_shared_cores_are_told_where_nodes_outnumber_them() -> None:
    *_, note = summary_lines(_run(GOOD, FAILED, n_cores=2))
    assert note.startswith("note: up to 4 threads shared the 2 cores of one machine: more nodes")
    assert not any("shared" in line for line in summary_lines(_run(GOOD, FAILED, n_cores=4)))
