"""Questions on the terminal: one at a time, and no live display draws over them."""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.live import Live

_asking = threading.Lock()  # hosts are connected to side by side
_displays: list[Live] = []


@contextmanager
def gives_way(display: Live) -> Iterator[None]:
    """While the body runs, the display stops for every question."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


def has_terminal() -> bool:
    """Whether somebody could answer; as `ssh`, whatever the standard streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextmanager
def terminal() -> Iterator[None]:
    """The terminal is ours for as long as the body runs."""
    with _asking, ExitStack() as stack:
        for display in _displays:
            if display.is_started:
                stack.enter_context(_stopped(display))
        yield


@contextmanager
def _stopped(display: Live) -> Iterator[None]:
    display.stop()
    try:
        yield
    finally:
        if display in _displays:
            display.start()


def ask_secret(text: str) -> str:
    """Read a line that is not shown; empty when there is none. Call it within `terminal`."""
    try:
        return getpass.getpass(text)
    except EOFError:
        return ""
