"""Signals that end a process in order: taken, given back, and left alone where they are ignored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from pytest_dllama.stop_signals import break_off, break_off_once, signals_taken


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test leaves behind, the next ones find what was there."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def come(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_they_break_off_what_is_under_way(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=f"^stopped by {number.name}$"):
        with signals_taken(break_off):
            come(number)
    assert signal.getsignal(number) == before


def test_what_ends_in_order_is_not_broken_off_by_another() -> None:
    """A terminal that is closed may say so twice."""
    with signals_taken(break_off_once()):
        with pytest.raises(KeyboardInterrupt):
            come(signal.SIGHUP)
        come(signal.SIGHUP)
        come(signal.SIGTERM)


def test_what_is_ignored_stays_ignored() -> None:
    """`nohup pytest-dllama duet ... &`, and the terminal is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_taken(break_off):
        come(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            come(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
