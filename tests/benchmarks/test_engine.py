"""`python -m benchmarks` end to end on a small shape, and what it is made of.

dllama is the stand-in of the plugin's tests: that its lines become rows is tested, no speed is.
"""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.engine import capacity, observation, warm_start
from benchmarks.engine.real_dllama import binary_from_environment, run_dllama
from benchmarks.table import Row, as_markdown
from dllama_engine.synthetic.model import write_synthetic
from pytest_dllama.backends.base import EngineRequest
from pytest_dllama.backends.embedded import EmbeddedBackend
from tests.data import LOGS
from tests.data import ROOT as REPOSITORY
from tests.plugin.backends.stand_in_program import write_program

SHAPE = "tiny-gqa"


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    return write_program(tmp_path / "dllama")


def test_doctests() -> None:
    results = doctest.testmod(table)
    assert results.attempted >= 3
    assert results.failed == 0


def test_a_warm_start_is_timed_beside_a_cold_one(tmp_path: Path) -> None:
    model, _ = write_synthetic(SHAPE, tmp_path)
    rows = warm_start.measure(model, SHAPE, 2, 1, tmp_path)
    assert [row.what.rpartition(", ")[2] for row in rows] == ["cold", "warm", "mapped"]
    assert [len(row.samples) for row in rows] == [1, 1, 1]


def test_the_cost_of_spans_is_judged_as_a_change_is(tmp_path: Path) -> None:
    (cell,) = observation.compare(["tiny"], [1], 16, (2,), tmp_path)
    assert [verdict.metric for verdict in cell.metrics] == ["steady_tpot_ms"], cell.reasons
    assert cell.metrics[0].tolerance == observation.ALLOWED == 0.01
    assert len(cell.sessions) == 4
    assert cell.same_tokens
    said = observation.line(cell)
    assert said.startswith("tiny-1: steady TPOT ")
    assert "ms without spans" in said
    told = {
        side: bool(read_log(log)["spans"])
        for log in tmp_path.rglob("*.pair*.root.stdout.log")
        if (side := log.name.split(".")[2]) in ("base", "new")
    }
    assert told == {"base": False, "new": True}


def test_raw_spans_are_all_that_the_sides_of_a_trace_differ_in() -> None:
    request = EngineRequest(Path("m"), Path("t"), "One", 8, 1, "q80", "reduce", 0.0, 1, 60.0)
    sides = (observation.WHAT["trace"].base, observation.WHAT["trace"].new)
    base, new = (EmbeddedBackend(side).root_command(request, (), "stdin") for side in sides)
    assert [word for word in new if word not in base or new.count(word) > base.count(word)] == [
        "--trace", "-", "-",
    ]  # fmt: skip


def read_log(path: Path) -> dict[str, object]:
    """The root's account of itself."""
    events = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return next(event for event in events if event["event"] == "rank")


def test_a_row_without_its_yardstick_reaches_nothing() -> None:
    row = Row("decode", "tokens/s", "llama.cpp", [5.0], target=1.3)
    assert row.cells() == ["decode", "5.0 [5.0-5.0] tokens/s", "", "", ""]
    row.yard_samples = [4.0]
    assert row.cells()[2:] == ["llama.cpp: 4.0 [4.0-4.0]", "1.25", "no (>= 1.3)"]
    assert as_markdown([row]).splitlines()[2] == (
        "| decode | 5.0 [5.0-5.0] tokens/s | llama.cpp: 4.0 [4.0-4.0] | 1.25 | no (>= 1.3) |"
    )


def test_dllamas_speeds_are_read_from_its_closing_blocks(stand_in: Path, tmp_path: Path) -> None:
    """The sample log of one node: 19.07 and 18.71 ms a token."""
    model, _ = write_synthetic(SHAPE, tmp_path)
    found = run_dllama(str(stand_in), model, 1)
    sample = (LOGS / "upstream_inference_n1.log").read_text("utf-8")
    printed = [line.split("(")[1].split()[0] for line in sample.splitlines() if "ms/tok" in line]
    assert [found.prefill, found.decode] == pytest.approx([1e3 / float(ms) for ms in printed])


def test_a_program_that_is_no_dllama_is_named(tmp_path: Path) -> None:
    model, _ = write_synthetic(SHAPE, tmp_path)
    with pytest.raises(RuntimeError, match=r"/bin/false ended with code 1 after 0 requests"):
        run_dllama("/bin/false", model, 1)
    with pytest.raises(RuntimeError, match=r"/bin/true ended with code 0 after 0 requests"):
        run_dllama("/bin/true", model, 1)


def test_dllama_bin_must_be_a_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DLLAMA_BIN", "")
    assert binary_from_environment() is None
    monkeypatch.setenv("DLLAMA_BIN", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="no program that can be run"):
        binary_from_environment()


def test_a_shape_that_does_not_fit_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(free_bytes: int, available_bytes: int, with_gguf: bool) -> str | None:
        monkeypatch.setattr(capacity, "free_bytes", lambda folder: free_bytes)
        monkeypatch.setattr(capacity, "available_bytes", lambda: available_bytes)
        return capacity.too_large("llama-7b", tmp_path, [2, 8], with_gguf)

    gib = 1 << 30
    assert missing(100 * gib, 24 * gib, True) is None
    assert missing(100 * gib, 8 * gib, False) is None
    words = missing(100 * gib, 4 * gib, False)
    assert words is not None
    assert words.endswith("GiB of memory on this machine, 4.00 GiB are available")
    words = missing(6 * gib, 24 * gib, True)  # the model's file alone would fit
    assert words is not None
    assert words.startswith("its files take 7.90 GiB more")
    assert missing(6 * gib, 24 * gib, False) is None


def test_the_program_writes_every_kind_of_row(stand_in: Path, tmp_path: Path) -> None:
    markdown = tmp_path / "table.md"
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--shapes", SHAPE, "--rounds", "1"),
            *("--node-rounds", "1", "--nodes", "2", "--threads", "2"),
            *("--models", tmp_path / "models", "--markdown", markdown),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "DLLAMA_BIN": str(stand_in)},
        check=True,
        timeout=900,
    )
    text = markdown.read_text("utf-8")
    for what in (
        "start to first token, tiny, 1 node",
        "its memory at most",
        "worker: start to its session's kernels loaded",
        "worker: memory while it waits",
        "packing Q40 weights, 2 threads",
        "dispatch, llama-160m, 2 threads",
        f"decode, {SHAPE}, 2 threads: bytes read",
        f"prefill 128, {SHAPE}, 2 threads",
        f"decode, {SHAPE}, 2 nodes x 1 thread",
        f"load, {SHAPE}, 2 nodes x 1 thread",
    ):
        assert f"| {what} |" in text
    rows = [line for line in text.splitlines() if "| dllama: " in line]
    assert len(rows) == 2
    assert sum("| import numpy: " in line for line in text.splitlines()) == 2
    assert "DLLAMA_BIN" not in text
