"""`pytest suites/ --baseline` on a real cluster, slowed down; many tests share the session."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.verdict_files import read_verdict
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
SMALL = ("--models", SMALL_MODEL, "--prompt", "hello", "--nodes", "2", "--steps", "24")


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """The same engine against itself, ten times slower: no busy machine hides that."""
    run = RealRun(tmp_path_factory.mktemp("slowed"))
    run.start(
        [
            *(SUITES, *SMALL, "--baseline", "self", "--inject", "tpot=900%", "--pairs", "3,6,10"),
            *("--history", "history", "-rf", "-k", "tpot or output or wire"),
        ]
    )
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    return run


def test_only_the_regressed_metrics_test_fails_and_says_why(slowed: RealRun) -> None:
    assert re.search(r"1 failed, 2 passed", slowed.output), slowed.output
    words = re.search(
        r"llama_q40-2: REGRESSED: TPOT \+[\d.]+% \(\+[\d.]+\.\.\+[\d.]+\), tolerated "
        r"5\.0%: surely worse, by [\d.]+% or more; \d+ pairs, one varies by [\d.]+%",
        slowed.output,
    )
    assert words, slowed.output


def test_the_table_stands_at_the_end_with_what_it_cost(slowed: RealRun) -> None:
    lines = slowed.output.splitlines()
    head = next(n for n, line in enumerate(lines) if "against base" in line)
    assert lines[head].split()[:3] == ["cell", "TPOT", "ms"]
    assert lines[head].split()[5:] == ["TTFT", "RCT", "pairs", "verdict"]
    assert lines[head + 1].startswith("llama_q40-2 ")
    assert lines[head + 1].endswith("REGRESSED")
    assert re.search(r"order by seed \d+; the verdict took \d+ s", slowed.output)
    assert "slowed down on purpose (tpot=900%)" in slowed.output


def test_the_run_is_the_new_sides_and_the_verdict_lies_beside(slowed: RealRun) -> None:
    found = read_verdict(slowed.report / "verdict.json")
    (cell,) = found.cells
    assert (found.status, cell.status) == ("REGRESSED", "REGRESSED")
    record = read_run(slowed.report / "run.json")
    (measured,) = record.cells
    assert record.request.repeats == len(measured.samples) == len(cell.sessions) // 2
    new = [s.metrics["tpot_ms"] for s in cell.sessions if s.side == "new"]
    assert sorted(s.tpot_ms or 0 for s in measured.samples) == pytest.approx(
        sorted(filter(None, new))
    )
    assert found.seed


def test_what_was_slowed_down_on_purpose_teaches_nothing_of_noise(slowed: RealRun) -> None:
    """Other comparisons do: `test_pairs_noise` holds what they keep."""
    assert list(Path(slowed.folder).rglob("verdict.json"))
    assert not list(Path(slowed.folder).rglob("pairs/*.json"))


def test_no_process_is_left(slowed: RealRun) -> None:
    assert slowed.leftovers() == []


def test_a_duet_that_is_told_to_stop_ends_in_order(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    options = ("--baseline", "self", *SMALL, "--pairs", "400", "--history", "off")
    run.start_module("pytest_dllama.cli", "duet", *options)
    run.wait_until(lambda: run.logged("*pair1.*root.stdout.log", '"phase": "decode"'))
    assert run.workers()
    assert run.process is not None
    run.process.send_signal(signal.SIGTERM)
    assert run.finish() == 130, run.output
    assert "stopped before the verdict was whole: nothing of it is kept" in run.output
    assert run.leftovers() == []


def test_a_baseline_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    run.start([SUITES, *SMALL, "--baseline", "git:no-such-revision"])
    assert run.finish() == pytest.ExitCode.USAGE_ERROR
    assert "has no revision 'no-such-revision'; see git branch -a and git tag" in run.output
    assert not run.report.exists()
