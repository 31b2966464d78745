"""One session of a cell picks what `auto` leaves open; the others are asked for just that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.backends.revision import RevisionBackend, flags_of
from pytest_dllama.events.trace import Picked, RequestTrace
from pytest_dllama.hosts.command import PROGRAM
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.requests.picks import Picks
from pytest_dllama.record.notes import picks_of_cell, picks_of_sides
from pytest_dllama.validity.faults import repeat_faults
from tests.plugin.backends.requests import REQUEST
from tests.plugin.traces_for_tests import decode_step, trace

MESH, SEVERAL = Picked("collective", "mesh"), Picked("collective", "mesh,star@13")
HALVES = Picked("overlap", "on@4")
CELL, OTHER = CellKey("tiny", 8), CellKey("tiny", 4)
AUTO = replace(REQUEST, collective="auto", overlap="auto")


def picking(*picked: Picked, token: int = 1) -> RequestTrace:
    return replace(trace([decode_step(0, token, 10)]), picked=picked)


def test_the_first_pick_serves_all_other_sessions_of_its_cell() -> None:
    picks, engine = Picks(), EmbeddedBackend()
    assert picks.asked(CELL, AUTO) == AUTO
    picks.learn(CELL, picking(SEVERAL, HALVES), engine)
    picks.learn(CELL, picking(MESH), engine)  # too late: what is measured stays one program
    asked = picks.asked(CELL, AUTO)
    assert (asked.collective, asked.overlap) == ("mesh,star@13", "on@4")
    command = engine.root_command(asked, ["h:1"], "0")
    assert command[command.index("--collective") + 1] == "mesh,star@13"
    assert command[command.index("--overlap") + 1] == "on@4"
    assert picks.asked(OTHER, AUTO) == AUTO


def test_only_what_was_left_open_is_replaced() -> None:
    picks = Picks()
    picks.learn(CELL, picking(HALVES), EmbeddedBackend())
    asked = picks.asked(CELL, replace(REQUEST, collective="ring", overlap="auto"))
    assert (asked.collective, asked.overlap) == ("ring", "on@4")


@pytest.mark.parametrize(
    ("help_text", "takes"),
    [
        ("  --collective NAME[,NAME@TOKENS..]\n                how nodes exchange", True),
        ("  --collective {auto,mesh,two-shot,star,ring,doubling}\n", False),
    ],
)
def test_a_revision_is_asked_for_a_pick_where_its_help_knows_the_form(
    help_text: str, takes: bool, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / PROGRAM
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{help_text}\nEND\n")
    program.chmod(0o755)
    flags = flags_of(tmp_path)
    assert "--collective" in flags
    picks = Picks()
    picks.learn(CELL, picking(MESH), RevisionBackend(tmp_path, flags=flags))
    assert list(picks.of(CELL)) == ([MESH] if takes else [])


def test_our_own_help_knows_the_form() -> None:
    from dllama_engine.cli.flags.parsing import build_parser
    from pytest_dllama.backends.revision import SEVERAL as FORM

    assert FORM in build_parser().format_help()


def test_other_tokens_of_another_pick_are_autos_doing() -> None:
    runs = [picking(MESH), picking(MESH), picking(SEVERAL, token=2)]
    (fault,) = repeat_faults(runs)
    assert fault.text == (
        "output: repeat 3 of 3 gave other tokens than repeat 1; auto is the likely cause: "
        "--collective auto picked mesh in repeat 1 and --collective auto picked mesh,star@13 in "
        "repeat 3; name one of them, as in --collective mesh --overlap off"
    )
    for second in (picking(MESH, token=2), picking(token=2)):  # which was told to take the mesh
        (same,) = repeat_faults([picking(MESH), second])
        assert same.text == "output: repeat 2 of 2 gave other tokens than repeat 1"


def test_notes_say_what_was_picked_and_for_whom() -> None:
    assert picks_of_cell([SEVERAL], [[SEVERAL]]) == [
        "--collective auto picked mesh,star@13, used for all sessions of this cell"
    ]
    assert picks_of_cell([], [[MESH], [MESH]]) == ["--collective auto picked mesh"]
    assert picks_of_cell([], []) == []
    assert "did not pick the same in every repeat" in picks_of_cell([], [[MESH], [SEVERAL]])[-1]
    assert picks_of_sides([MESH], [MESH]) == []
    assert picks_of_sides([], [MESH]) == []
    (changed,) = picks_of_sides([MESH], [SEVERAL])
    assert changed.startswith("CHANGED: --collective auto picked mesh in the base, ")
    (probing,) = picks_of_sides([], [MESH], base_probes=True)
    assert "that revision cannot be asked for what was picked" in probing
