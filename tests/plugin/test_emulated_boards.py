"""`--emulate` in the suites: what boards were set to, what they kept, and that it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.validity.boards import board_faults
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long

SUITE = [
    *(str(ROOT / "suites"), "--models", SMALL_MODEL, "--prompt", "hello", "--steps", "24"),
    *("--warmup", "0", "--repeats", "1", "-k", "output or tpot or wire"),
]


def test_two_boards_give_the_same_tokens_and_their_accuracy_is_told(tmp_path: Path) -> None:
    """So small a model computes for microseconds: a machine may be too slow to be these boards."""
    run = RealRun(tmp_path, pages="md")
    run.start([*SUITE, "--emulate", "pi4x2-100mbe"])
    code = run.finish()
    assert run.leftovers() == []
    record = read_run(run.report / "run.json")
    (cell,) = record.cells
    assert cell.nodes == 2
    assert cell.output is not None, run.output
    assert cell.output.status in ("identical", "tie")
    assert [one.rank for one in cell.computing] == [0, 1]
    assert cell.roofline is not None
    for one, read_bytes in zip(cell.computing, cell.roofline.read_bytes, strict=True):
        assert one.set_ms == pytest.approx(read_bytes / 2.84e6, rel=0.001)
        assert one.ms >= 0.99 * one.set_ms  # the cache's positions are a mean in the closed form
    said = [fault.text for fault in board_faults(cell.computing)]
    assert cell.verdict is not None
    assert [fault.text for fault in cell.verdict.faults if fault.kind == "board"] == said
    assert code == int(any(fault.kind in ("board", "link") for fault in cell.verdict.faults))
    assert f"EMULATED boards of {cell.id}: computing" in run.output
    assert "EMULATED boards (pi4x2-100mbe: latency=0.2ms,jitter=0.02ms,rate=94mbit;" in run.output
    assert record.emulation is not None
    assert (record.emulation.board, record.emulation.memory_bps) == ("pi4", 2.84e9)
    assert record.fingerprint is not None
    assert record.fingerprint.startswith("local-emulated-")
    title = (run.report / "report.en.md").read_text().splitlines()[0]
    assert "EMULATED boards: `pi4x2-100mbe`" in title
    assert cell.commands is not None
    for command in (cell.commands.root, *cell.commands.workers):
        assert command[command.index("--memory-rate") + 1] == "2.84GB/s"
