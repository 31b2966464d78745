"""The one-node runs that a comparison's outputs are held to."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.backends.embedded import EmbeddedBackend
from tests.plugin.lab.pairs.stated_duet import compare
from tests.plugin.lab.pairs.stated_times import StatedTimes


def test_the_reference_and_the_engine_itself_run_under_names_of_their_own(tmp_path: Path) -> None:
    new = StatedTimes(1.0)
    new.reference = StatedTimes(1.0, program="import sys; sys.exit('no memory')")
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert cell.status == "PASS"
    names = {path.name for path in (tmp_path / "logs").glob("*oracle.new.*stdout.log")}
    assert names == {
        "tiny-1.oracle.new.root.stdout.log", "tiny-1.oracle.new.stated.root.stdout.log"
    }  # fmt: skip


def test_sides_that_ask_the_same_share_one_reference_run(tmp_path: Path) -> None:
    compare(tmp_path, EmbeddedBackend(), EmbeddedBackend(), looks=(2,), nodes=1)
    oracles = {path.name.partition(".root")[0] for path in (tmp_path / "logs").glob("*oracle*")}
    assert oracles == {"tiny-1.oracle.new"}


def test_engines_that_differ_have_a_reference_run_each(tmp_path: Path) -> None:
    compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0), looks=(2,))
    oracles = {path.name.partition(".root")[0] for path in (tmp_path / "logs").glob("*oracle*")}
    assert oracles == {"tiny-1.oracle.base", "tiny-1.oracle.new"}
