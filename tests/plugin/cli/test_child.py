"""Pytest as a process of a command: it ends in order, and never after us."""

from __future__ import annotations

import signal
import sys

import pytest

from pytest_dllama.cli import child
from pytest_dllama.cli.child import Ended, run_child

# Stops its parent by signal argv[1], and ends in order on a signal of its own, or by itself.
STOPPING = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
os.kill(os.getppid(), int(sys.argv[1]))
time.sleep(float(sys.argv[2]))
sys.exit(3)
"""


def stopping(number: int, ends_itself_after_s: float) -> Ended:
    return run_child([sys.executable, "-c", STOPPING, str(number), str(ends_itself_after_s)])


def test_what_would_end_us_goes_to_the_child() -> None:
    assert stopping(signal.SIGTERM, 600) == Ended(7, was_stopped=True)


def test_after_ctrl_c_the_child_has_time_to_end_in_order() -> None:
    assert stopping(signal.SIGINT, 0.3) == Ended(3, was_stopped=True)


def test_an_interrupt_that_the_child_did_not_get_ends_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "GRACE_S", 0.0)
    assert stopping(signal.SIGINT, 600) == Ended(7, was_stopped=True)


def test_a_child_that_somebody_kills_was_stopped() -> None:
    killed = "import os; os.kill(os.getpid(), 9)"
    assert run_child([sys.executable, "-c", killed]) == Ended(-9, was_stopped=True)


def test_without_a_signal_it_ends_as_it_ends() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run_child([sys.executable, "-c", "raise SystemExit(5)"]) == Ended(5, was_stopped=False)
    assert signal.getsignal(signal.SIGTERM) == before
