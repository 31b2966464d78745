"""Whole logs of every sample become run files: figures, workers, oracle, limits, reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.backends.dllama.printed.run import LoggedRun
from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.verdict.limits.thresholds_file import parse_thresholds
from tests.data import MODELS
from tests.plugin.backends.sample_logs import LOGS, read
from tests.plugin.forensics.imported_logs import (
    ROOTS,
    WORKERS,
    cell_of,
    fork_with,
    imported,
    written,
)


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sample_becomes_a_report(name: str, language: str) -> None:
    run = imported(name)
    assert RunRecord.model_validate_json(run.model_dump_json()) == run
    assert len(render(run, language)) > 1000


def test_figures_of_the_fork_sample() -> None:
    (cell,) = imported("fork_inference_n2.log").cells
    (sample,) = cell.samples
    assert (sample.n_input_tokens, sample.n_output_tokens) == (6, 43)
    assert (sample.ttft_s, sample.rct_s) == (0.21645, 1.73292)
    assert sample.tpot_ms == pytest.approx((1732.92 - 216.45) / 42)
    assert sum(sample.itl_ms) == pytest.approx(1732.92 - 216.45)
    assert sample.decode_s == pytest.approx(43 * 35.87 / 1e3)
    network = cell.network
    assert network is not None
    assert (network.operations, network.avg_ms, network.p50_ms) == (2448, 1.18, 1.11)
    assert (network.p95_ms, network.bandwidth_mbps, network.slowest_peer) == (None, None, None)
    per_token = (24 * 3072 + 128_000) * 2 + 3072 + 8
    assert network.bytes_per_token == per_token
    assert network.total_bytes == 48 * (per_token - 8) + 44 * 8
    assert "root_peak_rss_bytes" not in cell.metrics


def test_what_dllama_cannot_give_has_its_reason_in_the_notes() -> None:
    notes = "\n".join(imported("fork_inference_n2.log").notes)
    for reason in (
        "whole ms, cut off",
        "tokenizing and sampling are left out",
        "star all-reduce with f32 buffers",
        "2448 operations and 22.52 MB",
        "with 1 thread gives both figures",
        "P95 2.23 ms",
        "first 50 records",
        "first 500",
        "393.93 Mbps",
        "socket 0",
        "RequiredMemory",
        "temperature, seed",
    ):
        assert reason in notes


def test_workers_logs_tell_their_memory(tmp_path: Path) -> None:
    worker = read(WORKERS[0]).partition("⏳")[0].replace("nNodes: 4", "nNodes: 2")
    worker = worker.replace("22041", "22031")
    run = import_logs(
        [LOGS / "fork_inference_n2.log", written(tmp_path, worker, "worker.log")], ImportOptions()
    )
    assert any("would allocate (RequiredMemory): worker 1 42." in note for note in run.notes)


POST = """4xNUC with AVX2. Slower than two:
./dllama inference --model m.m --tokenizer t.t --prompt "What is 5+9?" --steps 77
Evaluation
   nBatches: 32
    nTokens: 7
   tokens/s: {prompt} ({prompt_ms} ms/tok)
Prediction
    nTokens: 70
   tokens/s: {decode} ({decode_ms} ms/tok)

"""


def test_closing_blocks_in_a_post_are_a_run_each(tmp_path: Path) -> None:
    two = POST.format(prompt=9.25, prompt_ms=108.14, decode=5.96, decode_ms=167.91)
    four = POST.format(prompt=7.25, prompt_ms=137.93, decode=4.96, decode_ms=201.61)
    post = written(tmp_path, two + four)
    cells = import_logs([post], ImportOptions(nodes=2)).cells
    assert [round(cell.samples[0].decode_s or 0, 2) for cell in cells] == [11.75, 14.11]
    with pytest.raises(ImportLogError, match=r"prompt 9.25 tokens/s; decode 5.96 tokens/s"):
        import_logs([post], ImportOptions())


OLD_WORKER = """Listening on 0.0.0.0:9998...
💡 sliceIndex: 1
💡 nSlices: 2
🕒 ropeCache: 16384 kB
⏩ Received 55584 kB for block 0 (382000 kB/s)
🚁 Socket is in non-blocking mode
"""


def test_an_old_workers_log_is_no_roots(tmp_path: Path) -> None:
    worker = written(tmp_path, OLD_WORKER, "worker.log")
    with pytest.raises(ImportLogError, match="only workers' logs"):
        import_logs([worker], ImportOptions())
    (cell,) = import_logs([worker, LOGS / "v0.5.2_tiny_n2.log"], ImportOptions()).cells
    assert cell.status == "ok"


def test_a_long_prompts_rounding_is_no_damage(tmp_path: Path) -> None:
    """2000 tokens at 35.36 ms, printed with two decimals: up to 10 ms beside prefillMs."""
    changes = (
        ("(5 tokens)", "(2000 tokens)"),
        ("nTokens: 5\n", "nTokens: 2000\n"),
        ("Eval   20 ms Sync  156 ms", "Eval 60000 ms Sync 10718 ms"),
        ("prefillMs: 177.15", "prefillMs: 70726.00"),
        ("ttftMs: 216.45", "ttftMs: 70765.00"),
        ("totalMs: 1732.92", "totalMs: 72281.77"),
    )
    cell = cell_of(fork_with(tmp_path, *changes))
    assert cell.status == "ok", cell.error


def test_upstream_has_no_clock_and_says_so() -> None:
    run = imported("upstream_inference_n2.log")
    (sample,) = run.cells[0].samples
    assert sample.rct_s == pytest.approx(5 / 245.88 + 43 / 90.34)
    assert any("no Timing block" in note for note in run.notes)
    network = run.cells[0].network
    assert network is not None
    assert (network.operations, network.avg_ms) == (48 * 26, None)
    assert network.bytes_per_token == 8 + 3072 + 24 * 816 + 24 * 816 + 64_000


def test_one_node_among_the_logs_is_the_oracle() -> None:
    run = imported("upstream_inference_n1.log", "upstream_inference_n2.log", model_name="160m")
    assert [(cell.model, cell.nodes) for cell in run.cells] == [("160m", 1), ("160m", 2)]
    statuses = [cell.output.status for cell in run.cells if cell.output]
    assert statuses == ["oracle", "identical"]


def test_another_text_is_told_and_not_proven(tmp_path: Path) -> None:
    other = read("upstream_inference_n2.log").replace("| efdc\n\nEval", "| xyz\n\nEval")
    run = import_logs(
        [LOGS / "upstream_inference_n1.log", written(tmp_path, other)], ImportOptions()
    )
    output = run.cells[1].output
    assert output is not None
    assert output.status == "unchecked"
    assert "output token 43 is 'xyz', in the one-node run 'efdc'" in str(output.note)


def test_runs_of_one_cell_are_its_repeats(tmp_path: Path) -> None:
    text = read("upstream_inference_n2.log")
    slower = text.replace("90.34 (11.07 ms/tok)", "89.29 (11.20 ms/tok)")
    cell = cell_of(written(tmp_path, text + slower + read("upstream_worker_unreachable.log")))
    assert len(cell.samples) == 2
    assert cell.metrics["rct_s"].n == 2
    assert cell.metrics["rct_s"].minimum < cell.metrics["rct_s"].maximum


SMALL_MODEL = (  # the header of tests/data/models/llama_q40.m
    ("Dim: 768", "Dim: 128"),
    ("HiddenDim: 2048", "HiddenDim: 256"),
    ("nLayers: 12", "nLayers: 3"),
    ("VocabSize: 32000", "VocabSize: 512"),
)


def small_log(folder: Path) -> Path:
    text = read("upstream_inference_n2.log")
    for old, new in SMALL_MODEL:
        assert f" {old}\n" in text
        text = text.replace(f" {old}\n", f" {new}\n")
    return written(folder, text)


def test_an_imported_cell_meets_thresholds() -> None:
    limits = {"tpot_ms": 1, "rct_s": 60, "root_peak_rss_bytes": 9}
    thresholds = parse_thresholds({"defaults": limits}, "limits.toml")
    run = imported("upstream_inference_n2.log", thresholds=thresholds)
    (cell,) = run.cells
    assert cell.verdict is not None
    assert cell.verdict.status == "FAIL"
    (reason,) = cell.verdict.reasons
    assert "tpot_ms = 11.1186 ms, limit <= 1 ms" in reason
    assert [(t.metric, t.passed) for t in cell.thresholds] == [("tpot_ms", False), ("rct_s", True)]
    note = "The limit of root_peak_rss_bytes is not judged: dllama prints what it will allocate"
    assert any(text.startswith(note) for text in run.notes)


def test_an_imported_cell_meets_the_roofline(tmp_path: Path) -> None:
    given = {"model_file": MODELS / "llama_q40.m", "memory_bytes_per_s": 1e6}
    cell = cell_of(small_log(tmp_path), **given)
    assert cell.roofline is not None
    total = sum(cell.roofline.read_bytes)  # both ranks are on the one machine that the root dials
    assert cell.roofline.limit_ms == pytest.approx(total / 1e6 * 1e3)
    share = cell.metrics["roofline_share"].value
    assert share == pytest.approx(cell.roofline.limit_ms / cell.metrics["tpot_ms"].value)
    assert share > 1  # so slow a memory: and still nothing is disbelieved, caches are not known
    assert cell.verdict is not None
    assert cell.verdict.faults == ()


def test_without_a_measured_memory_the_roofline_says_what_to_give(tmp_path: Path) -> None:
    cell = cell_of(small_log(tmp_path), model_file=MODELS / "llama_q40.m")
    assert cell.roofline is not None
    assert (cell.roofline.limit_ms, cell.roofline.why_not) == (None, "unmeasured")
    assert (
        "rank 0, rank 1: a log does not tell its memory bandwidth; give --memory-gb-per-s"
        in str(cell.roofline.detail)
    )
    assert "roofline_share" not in cell.metrics


def test_another_models_file_is_refused() -> None:
    with pytest.raises(ImportLogError, match=r"Dim is 128, in upstream_\w+\.log it is 768"):
        imported("upstream_inference_n2.log", model_file=MODELS / "llama_q40.m")
    with pytest.raises(ImportLogError, match=r"--model-file .*golden\.t: "):
        imported("upstream_inference_n2.log", model_file=MODELS / "golden.t")


def test_report_of_a_log_never_shows_a_zero_for_what_is_missing() -> None:
    run = imported("upstream_inference_n2.log")
    assert run.models[0].size_bytes is None
    assert (run.request.nthreads, run.request.temperature, run.request.seed) == (None, None, None)
    assert "temperature -, seed -" in render(run, "en")


def test_workers_of_other_sizes_are_left_alone() -> None:
    assert LoggedRun(is_worker=True, said_nodes=[2]).nodes == 4  # upstream: the other workers
    run = imported(*WORKERS, "upstream_inference_n2.log")
    assert run.cells[0].status == "ok"
