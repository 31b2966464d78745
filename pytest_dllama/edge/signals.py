"""Signals that end a session in order, as Ctrl-C does."""

from __future__ import annotations

import signal
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


def restore_signal_handlers(config: pytest.Config) -> None:
    """The handlers that were there before."""
    for number, handler in config.stash.get(HANDLERS_KEY, {}).items():
        signal.signal(number, handler)
