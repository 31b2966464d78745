"""Signals that end a session in order, as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

HANDLERS_KEY: pytest.StashKey[dict[signal.Signals, Any]] = pytest.StashKey()
DEADLY_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def install_signal_handlers(config: pytest.Config) -> None:
    """`kill -TERM` and a closed terminal end the session in order, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        pytest.exit(f"stopped by {signal.Signals(number).name}")

    try:
        handlers = {number: signal.signal(number, leave) for number in DEADLY_SIGNALS}
    except ValueError:
        return  # not the main thread: whoever runs pytest there answers for signals
    config.stash[HANDLERS_KEY] = handlers


@contextmanager
def breaking_off(config: pytest.Config) -> Iterator[None]:
    """Inside they break off what is being written, as Ctrl-C does, and no more than that."""

    def break_off(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    ours = config.stash.get(HANDLERS_KEY, {})
    before = {number: signal.signal(number, break_off) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def restore_signal_handlers(config: pytest.Config) -> None:
    """The handlers that were there before."""
    for number, handler in config.stash.get(HANDLERS_KEY, {}).items():
        signal.signal(number, handler)
