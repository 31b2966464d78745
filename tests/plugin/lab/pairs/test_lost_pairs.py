"""A pair that lost a rank is taken anew, once, and told."""

from __future__ import annotations

from pathlib import Path

from tests.plugin.lab.pairs.stated_duet import compare
from tests.plugin.lab.pairs.stated_times import StatedTimes

# Is killed in these of its sessions, the one-node run being number 0.
DYING = """
import os, pathlib, signal, sys
at, *deaths = sys.argv[2].split(",")
at = pathlib.Path(at)
n = len(at.read_text()) if at.exists() else 0
at.write_text("x" * (n + 1))
for i in range(9):
    print("token", 50.001237 if i == 0 else 10.000731, "la", flush=True)
    if str(n) in deaths:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pair_that_lost_a_rank_is_taken_anew_once_and_marked(tmp_path: Path) -> None:
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},2", DYING)
    cell, told = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert (cell.status, cell.metrics[0].pairs) == ("PASS", 3)
    assert cell.retried is not None
    assert "the root was killed by SIGKILL" in cell.retried
    (line,) = [text for text in told if "taking the pair anew" in text]
    assert line.startswith("tiny-1: lost: the root was killed by SIGKILL")
    assert (tmp_path / "logs" / "tiny-1.retry1.pair2.new.root.stdout.log").is_file()


def test_a_one_node_run_that_was_lost_is_taken_anew_under_another_name(tmp_path: Path) -> None:
    """A host starts nothing under a name that it had: each run keeps its folder there."""
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},0", DYING)
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert (cell.status, cell.metrics[0].pairs) == ("PASS", 3)
    names = {path.name for path in (tmp_path / "logs").glob("*oracle.new.root.stdout.log")}
    assert names == {
        "tiny-1.oracle.new.root.stdout.log", "tiny-1.retry1.oracle.new.root.stdout.log"
    }  # fmt: skip


def test_a_pair_that_is_lost_again_is_an_error(tmp_path: Path) -> None:
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},2,3", DYING)
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert cell.status == "ERROR"
    assert "the root was killed by SIGKILL" in cell.reasons[0]
