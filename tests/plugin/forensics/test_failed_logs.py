"""Logs of runs that failed, of runs that were changed, and of figures that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from tests.plugin.backends.sample_logs import LOGS, damaged_logs, generated, read
from tests.plugin.forensics.imported_logs import (
    WORKERS,
    cell_of,
    fork_with,
    imported,
    no_silent_zero,
    written,
)


def test_deadlock_of_two_collectives_is_found_with_the_workers_logs() -> None:
    alone = imported("fork_inference_n4.log").cells[0]
    assert "import the workers' logs too" in str(alone.error)
    (cell,) = imported(*WORKERS[::-1], "fork_inference_n4.log").cells
    assert cell.status == "failed"
    for words in (
        "gave up after 60000 ms with 8448 bytes still to come; it waited on 3 sockets; "
        "it was in step 17/345 (SYNC_NODES)",
        "workers 1, 2, 3 wait too; each waits for 768 bytes",
        "one chunk of a ring all-reduce (3072 bytes / 4 nodes), while the root runs star",
        "same --collective",
        "Execution failed in one of the threads",
    ):
        assert words in str(cell.error)


def test_the_worker_that_does_not_wait_is_the_culprit(tmp_path: Path) -> None:
    died = read(WORKERS[1]).partition("⏳")[0] + "🚨 Critical error: Bus error\n"
    paths = [LOGS / name for name in ("fork_inference_n4.log", WORKERS[0], WORKERS[2])]
    run = import_logs([*paths, written(tmp_path, died, "worker2.log")], ImportOptions())
    assert "worker 2 is the culprit" in str(run.cells[0].error)
    assert "Bus error" in str(run.cells[0].error)


def test_unreachable_worker() -> None:
    (cell,) = imported("upstream_worker_unreachable.log").cells
    assert "worker 1 at 127.0.0.1:22999 cannot be reached (Connection refused)" in str(cell.error)


def test_perplexity_is_skipped_with_its_result() -> None:
    (cell,) = imported("upstream_perplexity_n2.log").cells
    assert cell.status == "skipped"
    assert "58326.015625" in str(cell.error)


def test_pipeline_runs_are_invalid(tmp_path: Path) -> None:
    cell = cell_of(fork_with(tmp_path, ("pp=1 tp=2", "pp=2 tp=1")))
    assert cell.verdict is not None
    assert cell.verdict.status == "INVALID"
    assert "skips part of the model's work" in cell.verdict.reasons[0]


def test_bytes_of_no_known_build_are_lower_bounds(tmp_path: Path) -> None:
    path = fork_with(tmp_path, ("Sent   200 kB", "Sent   201 kB"))
    run = import_logs([path], ImportOptions())
    network = run.cells[0].network
    assert network is not None
    assert network.expected_payload_bytes is None
    assert network.bytes_per_token == (201 + 197) * 1024
    assert any("no closed form of a known build" in note for note in run.notes)
    assert any("could not be checked" in note for note in run.notes)


def test_a_run_that_ends_early_is_failed_and_says_where(tmp_path: Path) -> None:
    text = read("upstream_inference_n2.log")
    cell = cell_of(written(tmp_path, text[: text.index("Evaluation") - 300]))
    assert cell.status == "failed"
    assert "output ends after 3" in str(cell.error)


def test_doubled_and_lost_lines_are_no_figures(tmp_path: Path) -> None:
    lines = read("upstream_inference_n2.log").split("\n")
    at = next(i for i, line in enumerate(lines) if "Pred" in line)
    for changed in (lines[:at] + lines[at + 1 :], [*lines[:at], lines[at], *lines[at:]]):
        cell = cell_of(written(tmp_path, "\n".join(changed)))
        assert "where the Prediction block says 43" in str(cell.error)


def test_a_changed_step_is_no_figure(tmp_path: Path) -> None:
    text = read("upstream_inference_n2.log").replace("Pred   12 ms", "Pred 9912 ms")
    assert "lines were changed" in str(cell_of(written(tmp_path, text)).error)


def test_times_out_of_order_are_no_figures(tmp_path: Path) -> None:
    cell = cell_of(fork_with(tmp_path, ("ttftMs: 216.45", "ttftMs: 9216.45")))
    assert "first token 9216.45 ms, last token 1732.92 ms" in str(cell.error)


def test_steps_of_another_shape_are_named(tmp_path: Path) -> None:
    text = (
        "💡 Arch: Llama\n💡 Dim: 64\n💿 Weights loaded\nhello\n🔶 Q   12 ms S  22 kB R  81 kB a\n"
    )
    cell = cell_of(written(tmp_path, text))
    assert "lines of an unknown format: 1, such as '🔶 Q" in str(cell.error)


def test_without_a_head_the_node_count_must_be_given(tmp_path: Path) -> None:
    path = written(tmp_path, generated("a", "b").partition("\n")[2])
    with pytest.raises(ImportLogError, match="add --nodes N, the root counted"):
        import_logs([path], ImportOptions())
    run = import_logs([path], ImportOptions(nodes=2))
    assert (run.cells[0].nodes, run.cells[0].network, run.models) == (2, None, ())
    assert any("header is not in the log" in note for note in run.notes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nNodes=2", "nNodes=999999999999"),
        ("expects 1 workers", "expects 999999999999 workers"),
        ("Socket[0]: connecting", "Socket[99999999999]: connecting"),
        ("Dim: 768", "Dim: " + "9" * 6000),
        ("nLayers: 12", "nLayers: 0"),
        ("VocabSize: 32000", "VocabSize: 9" + "0" * 17),
        ("nTokens: 43", "nTokens: " + "9" * 6000),
        ("35.87 ms/tok", "9" * 400 + ".00 ms/tok"),
        ("ttftMs: 216.45", "ttftMs: " + "9" * 300 + ".0"),
        ("totalMs: 1732.92", "totalMs: 0.00"),
        ("Pred    5 ms", "Pred " + "9" * 5000 + " ms"),
        ("|      2448   |", "|      " + "9" * 5000 + "   |"),
        ("Sent   200 kB", "Sent 999999999999999999 kB"),
    ],
)
def test_absurd_figures_are_no_crash_no_hang_and_no_zero(
    tmp_path: Path, old: str, new: str
) -> None:
    run = import_logs([fork_with(tmp_path, (old, new))], ImportOptions(nodes=2))
    for cell in run.cells:
        no_silent_zero(cell)
    for language in LANGUAGES:
        render(run, language)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match="no line of dllama's"):
        import_logs([written(tmp_path, "make: *** no rule\n")], ImportOptions())
    with pytest.raises(ImportLogError, match="only workers' logs"):
        imported(WORKERS[0])


@settings(max_examples=100, deadline=None)
@given(text=damaged_logs)
def test_damage_is_no_crash_and_no_silent_zero(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = written(tmp_path_factory.mktemp("log"), text)
    try:
        run = import_logs([path], ImportOptions(nodes=2))
    except ImportLogError:
        return
    for cell in run.cells:
        no_silent_zero(cell)
    assert RunRecord.model_validate_json(run.model_dump_json()) == run
