"""Signals that ask a process to end, and how they are taken so that it ends in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, SIGINT, is Python's own
Handler = Callable[[int, FrameType | None], None]
Handlers = Mapping[int, Any]


def take_signals(handler: Handler, numbers: Sequence[int] = STOP_SIGNALS) -> Handlers:
    """Handle these signals, but for those that are ignored, as under `nohup`.

    Returns:
        What handled each of them before.

    Raises:
        ValueError: not called from the main thread.
    """
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in taken:
        signal.signal(number, handler)
    return taken


def give_back_signals(before: Handlers) -> None:
    """Let handle them what did before."""
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def signals_taken(handler: Handler, numbers: Sequence[int] = STOP_SIGNALS) -> Iterator[None]:
    """Inside these signals are handled by `handler`."""
    before = take_signals(handler, numbers)
    try:
        yield
    finally:
        give_back_signals(before)


def break_off(number: int, frame: FrameType | None) -> None:
    """A handler that ends what is under way as Ctrl-C does."""
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def break_off_once() -> Handler:
    """The same, but what ends then is not broken off by another of them.

    A terminal that is closed gives its signal often twice: by the kernel and by the shell.
    """
    has_come = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal has_come
        if not has_come:
            has_come = True
            break_off(number, frame)

    return take
