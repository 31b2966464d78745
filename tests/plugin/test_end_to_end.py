"""The suites on real clusters: each run is shared by many tests, for each costs seconds."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from tests.data import MODELS as GOLDEN
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
SMALL = ("--models", SMALL_MODEL, "--prompt", "hello", "--warmup", "0")
LIMITS = """
[defaults]
ttft_s = 60
tokens_per_s = 0.1
[models.llama_q40.nodes.4]
tpot_ms = 0.0001
"""


def _cell(run: RunRecord, nodes: int) -> CellRecord:
    return next(cell for cell in run.cells if cell.nodes == nodes)


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> RealRun:
    """Two cells, of which the one of 4 nodes misses a threshold."""
    run = RealRun(tmp_path_factory.mktemp("judged"), "md,html")
    (run.folder / "limits.toml").write_text(LIMITS)
    run.start(
        [
            *(SUITES, *SMALL, "--nodes", "2,4", "--steps", "24", "--repeats", "2"),
            *("--thresholds", "limits.toml", "--benchmark-json", "rows.json"),
            *("--benchmark-autosave", "-rf"),
        ]
    )
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    return run


@pytest.fixture(scope="module")
def record(judged: RealRun) -> RunRecord:
    return read_run(judged.report / "run.json")


def test_only_the_missed_threshold_fails_and_says_why(judged: RealRun) -> None:
    assert re.search(r"1 failed, \d+ passed", judged.output)
    missed = re.search(
        r"llama_q40-4: tpot_ms = [\d.]+ ms, limit <= 0\.0001 ms, [\d.]+ % beyond "
        r"\(limits\.toml \[models\.llama_q40\.nodes\.4\]\)",
        judged.output,
    )
    assert missed, judged.output


def test_no_process_is_left(judged: RealRun) -> None:
    assert judged.leftovers() == []


def test_each_cell_is_measured_once(judged: RealRun) -> None:
    names = sorted(path.name for path in judged.report.glob("logs/*/*.root.stdout.log"))
    assert names == [
        "llama_q40-1.oracle.root.stdout.log",
        "llama_q40-2.repeat1.root.stdout.log",
        "llama_q40-2.repeat2.root.stdout.log",
        "llama_q40-4.repeat1.root.stdout.log",
        "llama_q40-4.repeat2.root.stdout.log",
    ]


def test_workers_are_provisioned_once_for_the_largest_cell(judged: RealRun) -> None:
    names = {path.name for path in judged.report.glob("logs/*/worker*.stdout.log")}
    assert names == {f"worker{rank}.stdout.log" for rank in (1, 2, 3)}


def test_the_run_file_has_the_figures(record: RunRecord) -> None:
    assert [cell.nodes for cell in record.cells] == [2, 4]
    for cell in record.cells:
        assert cell.status == "ok"
        assert len(cell.samples) == 2
        assert {"ttft_s", "tpot_ms", "rct_s", "tokens_per_s", "bytes_per_token"} <= set(
            cell.metrics
        )
        for sample in cell.samples:
            assert sample.prefill_tokens == sample.n_input_tokens - 1
            assert sample.prefill_tokens + sample.n_output_tokens == record.request.steps
            assert 0 < sample.ttft_s < sample.rct_s
            assert len(sample.itl_ms) == sample.n_output_tokens - 1
        assert [rank.role for rank in cell.ranks] == ["root"] + ["worker"] * (cell.nodes - 1)
        assert all(rank.peak_rss_bytes for rank in cell.ranks)
        assert all((Path(cell_log).suffix == ".log") for cell_log in cell.logs)


def test_every_byte_is_accounted_for(record: RunRecord) -> None:
    """dim 128, 3 layers, vocab 512: the closed form, worked out by hand."""
    for cell in record.cells:
        network = cell.network
        assert network is not None
        assert network.payload_bytes == network.expected_payload_bytes
        peers = cell.nodes - 1
        q80_vector = 128 // 32 * 34
        layers = 2 * peers * 3 * 2 * q80_vector  # there and back, 3 layers, 2 sums each
        assert network.bytes_per_token == layers + peers * (8 + 4 * 128) + 4 * 512 * peers // (
            cell.nodes
        )


def test_the_output_is_checked_against_one_node(record: RunRecord) -> None:
    for cell in record.cells:
        assert cell.output is not None
        assert cell.output.status in ("identical", "tie")
        assert cell.output.oracle_text


def test_verdicts(record: RunRecord) -> None:
    fast, slow = _cell(record, 2).verdict, _cell(record, 4).verdict
    assert fast is not None
    assert slow is not None
    assert (fast.status, slow.status) == ("PASS", "FAIL")
    assert "tpot_ms" in slow.reasons[0]


def test_commands_can_be_run_by_hand(record: RunRecord) -> None:
    commands = _cell(record, 4).commands
    assert commands is not None
    assert commands.root[:2] == ("dllama-py", "inference")
    assert len(commands.workers) == 3
    ports = [command[command.index("--port") + 1] for command in commands.workers]
    addresses = commands.root[commands.root.index("--workers") + 1 :]
    assert list(addresses) == [f"127.0.0.1:{port}" for port in ports]
    everything = " ".join((*commands.root, *sum(commands.workers, ())))
    assert "--events" not in everything
    assert "token" not in everything.replace("tokenizer", "")


def test_the_summary_and_where_the_results_are(judged: RealRun) -> None:
    assert re.search(r"llama_q40-2 +[\d.]+ .* PASS", judged.output)
    assert re.search(r"llama_q40-4 +[\d.]+ .* FAIL", judged.output)
    assert "run file: " in judged.output
    for name in ("report.ko.md", "report.en.md"):
        assert (judged.report / name).exists()
        assert name in judged.output


def test_progress_without_a_terminal_is_one_line_a_cell(judged: RealRun) -> None:
    told = re.findall(r"^dllama: llama_q40-(\d): .*tokens/s", judged.output, re.MULTILINE)
    assert told == ["2", "4"]
    assert "repeat 2/2" not in judged.output  # a run of a few seconds needs no sign of life
    assert "\x1b" not in judged.output


def test_rows_of_cells_that_passed_are_saved(judged: RealRun) -> None:
    rows = {
        row["name"]: row
        for row in json.loads((judged.folder / "rows.json").read_text())["benchmarks"]
    }
    assert set(rows) == {f"test_{name}[llama_q40-2]" for name in ("ttft", "tpot", "rct")}
    run = _cell(read_run(judged.report / "run.json"), 2)
    ttft = rows["test_ttft[llama_q40-2]"]
    assert ttft["stats"]["data"] == [sample.ttft_s for sample in run.samples]
    assert ttft["extra_info"]["tokens_per_s"] == run.metrics["tokens_per_s"].value
    assert ttft["extra_info"]["verdict"] == "PASS"
    tpot = rows["test_tpot[llama_q40-2]"]["stats"]["data"]
    assert tpot == [pytest.approx((sample.tpot_ms or 0) / 1e3) for sample in run.samples]


def test_a_later_run_is_compared_and_the_older_kept(judged: RealRun, tmp_path: Path) -> None:
    """In the same folder, or a copy: the storage of saved rows is named after the machine."""
    again = RealRun(shutil.copytree(judged.folder, tmp_path / "again"))
    (folder,) = (again.folder / ".benchmarks").glob("local-*")
    assert list(folder.rglob("0001_*.json"))
    again.start(
        [
            *(SUITES, *SMALL, "--nodes", "2", "--steps", "24", "--repeats", "1"),
            *("--benchmark-compare", "-k", "test_rct or test_output"),
        ]
    )
    assert again.finish() == 0, again.output
    assert "Comparing against benchmarks from:" in again.output
    assert re.search(r"test_rct\[llama_q40-2\] \(0001_\w+\)", again.output), again.output
    assert len(list((again.report / "history").glob("*.json"))) == 1
    assert [cell.nodes for cell in read_run(again.report / "run.json").cells] == [2]


def test_invariant_mode_gives_the_very_same_tokens(tmp_path) -> None:
    run = RealRun(tmp_path)
    run.start(
        [
            *(SUITES, *SMALL, "--nodes", "1,3", "--steps", "40", "--repeats", "1"),
            *("--sync-mode", "invariant", "-k", "output or wire or scaling"),
        ]
    )
    assert run.finish() == 0, run.output
    one, three = read_run(run.report / "run.json").cells
    assert one.output is not None
    assert three.output is not None
    assert (one.output.status, three.output.status) == ("oracle", "identical")
    assert one.output.token_ids == three.output.token_ids
    assert one.network is None
    assert not list(run.report.glob("logs/*/*oracle*"))  # the cell of one node is the oracle


KILLER = """
import os, threading, time
from pathlib import Path

from pytest_dllama.hosts.local import LocalHost

_start = LocalHost.start

def _start_that_takes_long(self, command, name, *arguments, **named):
    if name.endswith("-4.repeat1.root"):  # it is still decoding when its worker is killed
        command = (*command, "--inject", "tpot=200ms")
    return _start(self, command, name, *arguments, **named)

LocalHost.start = _start_that_takes_long

def pytest_sessionstart(session):
    threading.Thread(target=_kill_worker_2_in_the_middle, daemon=True).start()

def _kill_worker_2_in_the_middle():
    while True:
        for log in Path("report").glob("logs/*/*-4.repeat1.root.stdout.log"):
            if '"phase": "decode"' in log.read_text():
                worker = next(log.parent.glob("worker2.stdout.log")).read_text()
                os.kill(int(worker.split('"pid": ')[1].split("}")[0]), 9)
                return
        time.sleep(0.005)
"""


def test_a_lost_worker_fails_its_cell_and_the_others_go_on(tmp_path) -> None:
    run = RealRun(tmp_path)
    (tmp_path / "conftest.py").write_text(KILLER)
    (tmp_path / "test_cells.py").write_text(
        "def test_output(cell):\n    cell.check_output()\n"
        "def test_row(timing_row):\n    timing_row('rct_s')\n"
    )
    run.start([*SMALL, "--nodes", "4,3", "--steps", "250", "--repeats", "2", "--retry-lost", "0"])
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    assert "2 passed, 2 errors" in run.output
    assert run.leftovers() == []
    lost, well = read_run(run.report / "run.json").cells
    assert (lost.status, well.status) == ("failed", "ok")
    assert "worker 2 at 127.0.0.1" in (lost.error or "")
    assert f"llama_q40-4: {lost.error}" in run.output
    assert lost.verdict is not None
    assert lost.verdict.status == "ERROR"
    assert lost.logs
    assert list(run.report.glob("logs/*/worker2.start2.stdout.log"))  # provisioned anew


SWAPPER = """
import os

from pytest_dllama.hosts.local import LocalHost

_start = LocalHost.start

def _swap_the_model_after_the_oracle(self, command, name, *arguments, **named):
    if name.endswith(".repeat1.root"):
        os.replace("other.m", "model.m")
    return _start(self, command, name, *arguments, **named)

LocalHost.start = _swap_the_model_after_the_oracle
"""
CHECKS = """
import pytest

def test_output(cell):
    cell.check_output()

def test_wire(cell):
    cell.check_wire()

def test_row(timing_row, threshold):
    timing_row("rct_s")
    threshold("rct_s")

@pytest.mark.dllama_threshold(rct_s=1e-6)
def test_of_its_own(threshold):
    threshold("rct_s")
"""


def test_a_wrong_output_makes_the_cell_invalid_and_shows_both_texts(tmp_path) -> None:
    """The model file is exchanged once the oracle has read it."""
    shutil.copy(GOLDEN / "llama_q40.m", tmp_path / "model.m")
    shutil.copy(GOLDEN / "qwen3_q40.m", tmp_path / "other.m")
    shutil.copy(GOLDEN / "golden.t", tmp_path / "model.t")
    (tmp_path / "conftest.py").write_text(SWAPPER)
    (tmp_path / "test_cells.py").write_text(CHECKS)
    run = RealRun(tmp_path)
    run.start(
        [
            *("--models", "model.m:model.t", "--prompt", "hello", "--warmup", "0"),
            *("--nodes", "2", "--steps", "24", "--repeats", "1", "--benchmark-json", "rows.json"),
        ]
    )
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    assert "2 failed, 2 passed" in run.output
    (cell,) = read_run(run.report / "run.json").cells
    assert cell.output is not None
    assert cell.verdict is not None
    assert (cell.output.status, cell.verdict.status) == ("different", "INVALID")
    assert f"one node: {cell.output.oracle_text!r}" in run.output
    assert f"this one: {cell.output.text!r}" in run.output
    assert re.search(r"model-2: rct_s = .* s, limit <= 1e-06 s", run.output)
    assert json.loads((tmp_path / "rows.json").read_text())["benchmarks"] == []


SLOW_SHAPE = "dim=1024,n_layers=8,hidden_dim=2816,n_heads=16,seq_len=2048"


def _start_slow(run: RealRun, *options: str) -> None:
    """A cell that is still being measured when the signal comes."""
    run.start(
        [
            *(SUITES, *SMALL, "--nodes", "3", "--steps", "250", "--repeats", "3"),
            *(*options, "-k", "test_output"),
        ]
    )


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> RealRun:
    """Ctrl-C in the second of two models."""
    run = RealRun(tmp_path_factory.mktemp("cut"), "md")
    _start_slow(run, "--models", f"{SMALL_MODEL},synthetic:{SLOW_SHAPE}")
    run.wait_until(lambda: run.logged("dim*-3.repeat1.root.stdout.log", '"phase": "decode"'))
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    return run


def test_ctrl_c_leaves_no_process(cut: RealRun) -> None:
    assert cut.leftovers() == []


def test_ctrl_c_keeps_what_was_measured(cut: RealRun) -> None:
    run = read_run(cut.report / "run.json")
    assert [(cell.model, cell.status) for cell in run.cells] == [("llama_q40", "ok")]
    assert (cut.report / "report.en.md").exists()
    assert "KeyboardInterrupt" in cut.output
    assert re.search(r"llama_q40-3 +[\d.]+ .* PASS", cut.output)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_being_told_to_stop_leaves_no_process(tmp_path, number: signal.Signals) -> None:
    run = RealRun(tmp_path)
    _start_slow(run, "--models", f"synthetic:{SLOW_SHAPE}")
    run.wait_until(lambda: run.logged("dim*-1.oracle.root.stdout.log", '"phase": "decode"'))
    assert len(run.workers()) == 2
    assert run.process is not None
    run.process.send_signal(number)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    assert f"stopped by {number.name}" in run.output
    assert run.leftovers() == []


def test_even_kill_9_leaves_no_process(tmp_path) -> None:
    run = RealRun(tmp_path)
    _start_slow(run, "--models", f"synthetic:{SLOW_SHAPE}")
    run.wait_until(lambda: run.logged("dim*-1.oracle.root.stdout.log", '"phase": "decode"'))
    workers = run.workers()
    assert len(workers) == 2
    (secret,) = {worker.environ()["DLLAMA_PY_TOKEN"] for worker in workers}
    assert not any(secret in " ".join(worker.cmdline()) for worker in workers)
    assert run.process is not None
    run.process.kill()
    assert run.finish() == -signal.SIGKILL
    assert run.leftovers() == []
