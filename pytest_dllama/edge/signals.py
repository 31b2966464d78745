"""Signals that end a session in order, as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from pytest_dllama.stop_signals import (
    Handlers,
    break_off,
    give_back_signals,
    signals_taken,
    take_signals,
)

HANDLERS_KEY: pytest.StashKey[Handlers] = pytest.StashKey()


def install_signal_handlers(config: pytest.Config) -> None:
    """`kill -TERM` and a closed terminal end the session in order, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        pytest.exit(f"stopped by {signal.Signals(number).name}")

    try:
        config.stash[HANDLERS_KEY] = take_signals(leave)
    except ValueError:
        return  # not the main thread: whoever runs pytest there answers for signals


@contextmanager
def breaking_off(config: pytest.Config) -> Iterator[None]:
    """Inside they break off what is being written, as Ctrl-C does, and no more than that."""
    ours: Handlers = config.stash.get(HANDLERS_KEY, {})
    with signals_taken(break_off, tuple(ours)):
        yield


def restore_signal_handlers(config: pytest.Config) -> None:
    """The handlers that were there before."""
    give_back_signals(config.stash.get(HANDLERS_KEY, {}))
