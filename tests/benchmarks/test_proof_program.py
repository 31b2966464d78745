"""The proof of verdicts from end to end: what is planned, taken, taken up again and told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import page
from benchmarks.verdicts.proof.__main__ import parser, wishes
from benchmarks.verdicts.proof.findings import causes
from benchmarks.verdicts.proof.journal import (
    AA,
    Condition,
    Journal,
)
from benchmarks.verdicts.proof.taking import outlook
from benchmarks.verdicts.proof.taking.busy import one_busy_core
from benchmarks.verdicts.proof.taking.campaign import Campaign, OtherWork, Wish, parse_cell
from pytest_dllama.lab.progress import Silent
from tests.benchmarks.proof_pairs import SAME, comparison, pairs
from tests.data import ROOT

DEADLINE_S = 900.0


@pytest.mark.parametrize("text", ["tiny", "tiny-", "-2", "tiny-0"])
def test_a_cell_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="write MODEL-NODES, as in tiny-2 or llama-160m-4"):
        parse_cell(text)


def test_pairs_of_other_machines_or_requests_do_not_mix(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    journal.append(comparison(fingerprint="elsewhere", steps=16))
    with pytest.raises(
        OtherWork, match=r"has pairs of elsewhere, 16 steps.*another folder with --data"
    ):
        Campaign(journal, ["tiny-2"], 64, tmp_path, Silent())


def test_what_is_to_go_is_told_by_what_pairs_took(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    for row in pairs(3):  # 2 s each
        journal.append(row)
    busy = Condition(stage=AA, is_busy=True)
    asked = [Wish(SAME, ("tiny-2",), 93), Wish(busy, ("tiny-2",), 10)]
    assert outlook.to_go(asked, journal) == "about 4 min to go: A/A 3 min, A/A, busy 40 s"
    assert outlook.to_go([Wish(SAME, ("tiny-2",), 3)], journal) == ""
    assert outlook.pair_s(journal, "tiny-4", is_busy=False) == outlook.GUESS_S


def test_every_stage_is_planned_before_anything_is_measured(tmp_path: Path) -> None:
    options = parser().parse_args([])
    plan = list(wishes(options, Journal(tmp_path / "pairs.jsonl")))
    stages = [wish.condition.stage for wish in plan]
    assert list(dict.fromkeys(stages)) == ["calibration", "A/A", "injected", "cause", "small"]
    assert plan[-1].condition.is_busy
    assert {causes.part_of(w.condition) for w in plan if w.condition.stage == "small"} == {
        "output-projection", "feed-forward",
    }  # fmt: skip


def test_a_busy_neighbour_computes_and_goes() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with one_busy_core():
        end = time.monotonic() + DEADLINE_S
        while not (working := _computing(before)):
            assert time.monotonic() < end
            time.sleep(0.05)
    while any(_lives(pid) for pid in working):
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """A dead process that nobody has looked after yet is a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _computing(before: set[int]) -> list[int]:
    found = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    return [c.pid for c in found if _user_s(c) > 0.2]


def _user_s(process: psutil.Process) -> float:
    try:
        return float(process.cpu_times().user)
    except psutil.NoSuchProcess:
        return 0.0


def program(folder: Path, *arguments: str) -> list[str]:
    options = ["--cells", "tiny-2", "--calibration", "0", "--steps", "16", "--data", str(folder)]
    return [sys.executable, "-m", "benchmarks.verdicts.proof", *arguments, *options]


def test_a_killed_proof_goes_on_where_it_was(tmp_path: Path) -> None:
    """Real pairs; SIGKILL after the second, then to the end."""
    journal = tmp_path / "pairs.jsonl"
    command = program(tmp_path, "aa", "--pairs", "5")
    first = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + DEADLINE_S
    while not journal.exists() or journal.read_text().count('"kind":"pair"') < 2:
        assert first.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(DEADLINE_S)
    kept = Journal(journal).pairs()
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = Journal(journal)
    assert found.pairs(SAME)[: len(kept)] == kept
    assert len(found.pairs(SAME)) >= 5
    assert len(found.comparisons()) == 2
    assert found.failures() == []
    assert (
        "Without a prior (plain paired t, provisional): TTFT, TPOT, steady TPOT, RCT."
        in ended.stdout
    )
    assert "| tiny-2 | 3 | " in ended.stdout
    assert "| pytest-benchmark: `--benchmark-compare-fail=mean:5%` |" in ended.stdout
    assert not (tmp_path / "logs" / found.comparisons()[1].id).exists()
    for row in found.pairs():
        assert row.metrics("new")["tpot_ms"] != row.metrics("base")["tpot_ms"]


def test_a_stage_that_is_none_is_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        program(tmp_path, "ab"), cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no stage ab: there is aa, injected, causes, busy" in ended.stderr


@pytest.mark.parametrize("section", ["quiet", "loaded"])
def test_the_document_has_a_place_for_each_section(section: str) -> None:
    text = (ROOT / "docs/proof.md").read_text("utf-8")
    assert "### Promises" in page.written(text, f"verdict-proof {section}")
