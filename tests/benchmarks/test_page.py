"""Tables that programs write into documents: in their place, and as the program has them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page
from benchmarks.sessions.rows import Case, Sessions, show
from benchmarks.wire import pieces
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.shapes import parse_shape
from pytest_dllama.record.cell import CellRecord
from tests.data import ROOT


def test_figures_are_replaced_between_their_markers_only(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    (begin, end), (other, other_end) = page.markers("links"), page.markers("boards")
    document.write_text(f"# Title\n{begin}\nold\n{end}\nwords\n{other}\n{other_end}\n")
    page.write(document, "links", "| a |\n")
    assert document.read_text() == (
        f"# Title\n{begin}\n\n| a |\n\n{end}\nwords\n{other}\n{other_end}\n"
    )
    assert page.written(document.read_text(), "links") == "| a |"


@pytest.mark.parametrize("text", ["", "{begin}", "{end} {begin}"])
def test_a_document_without_their_place_is_refused(tmp_path: Path, text: str) -> None:
    begin, end = page.markers("links")
    document = tmp_path / "d.md"
    document.write_text(said := text.format(begin=begin, end=end))
    with pytest.raises(page.NoMarkers, match=r"no place for the figures: put <!-- links: written"):
        page.write(document, "links", "new")
    assert document.read_text() == said


def test_what_pieces_could_win_stands_in_the_document() -> None:
    text = (ROOT / "docs/network.md").read_text("utf-8")
    assert page.written(text, pieces.NAME) == pieces.table()


def test_pieces_hide_bytes_and_nothing_else() -> None:
    """By hand: products of 1 ms, an exchange of two ranks."""
    plan = make_plan(parse_shape("llama-13b"), 2)
    bytes_only = pieces.LinkCosts(0.0, 0.0, 1e-7)  # 5440 bytes: 544 us
    won_s = pieces.won_s(bytes_only, plan, Collective.MESH, 1e-3)
    assert won_s == pytest.approx(544e-6 * 15 / 16)  # the last of 16 pieces is not hidden
    rounds_only = pieces.LinkCosts(1e-3, 0.0, 0.0)
    assert pieces.won_s(rounds_only, plan, Collective.MESH, 1e-3) == 0
    dear_messages = pieces.LinkCosts(0.0, 1e-3, 1e-7)
    assert pieces.won_s(dear_messages, plan, Collective.MESH, 1e-3) == 0


def _ran_out(*_: str, timeout_s: float) -> tuple[CellRecord, ...]:
    raise subprocess.TimeoutExpired("pytest", timeout_s)


def test_a_table_of_sessions_ends_in_time_and_says_what_is_missing() -> None:
    now_s, said, given_s = [0.0], [], []

    def run(*options: str, timeout_s: float) -> list[Any]:
        now_s[0] += 70
        given_s.append(timeout_s)
        return [options]

    cases = [Case(name, ("--link", name)) for name in ("1gbe", "wifi5", "wifi4")]
    sessions = Sessions(cases, 2.5, run, lambda: now_s[0], said.append)
    assert list(sessions.cells()) == [
        ("1gbe", ("--link", "1gbe")),
        ("wifi5", ("--link", "wifi5")),
    ]
    assert given_s == [150, 80]
    assert said[1] == "2 of 3: --link wifi5 (70 s so far, at most 150)"
    assert sessions.line == "2 of 3 sessions in 2.5 min; --minutes N gives more time"

    cut_off = Sessions(cases, 2.5, _ran_out, lambda: 0.0, said.append)
    assert list(cut_off.cells()) == []
    assert cut_off.line.startswith("0 of 3 sessions in 2.5 min")


def test_a_table_of_sessions_goes_into_its_document(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text("\n".join(page.markers("links")))
    sessions = Sessions([Case("1gbe", ())], 8, lambda **_: [None], lambda: 0.0, str)
    show("links", ("link", "cell"), sessions, lambda label, cell: (label, str(cell)), document)
    caption, _, *table = page.written(document.read_text(), "links").splitlines()
    assert caption.endswith("; 1 of 1 sessions.")
    assert table == ["| link | cell |", "| --- | --- |", "| 1gbe | None |"]


def test_a_document_without_a_place_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text("nothing")
    sessions = Sessions([Case("1gbe", ())], 8, _ran_out)
    with pytest.raises(page.NoMarkers):
        show("links", (), sessions, lambda label, cell: (), document)
