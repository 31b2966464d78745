"""Pytest as a process of ours: on our terminal, and given the time to end in order when we must."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from pytest_dllama.stop_signals import STOP_SIGNALS, signals_taken

GRACE_S = 20.0  # to end after Ctrl-C, which a terminal gives to both of us
_SIGNALS = (signal.SIGINT, *STOP_SIGNALS)


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    status: int
    was_stopped: bool  # it, or we, by a signal


@dataclass(slots=True)
class _Stops:
    """What would have ended us."""

    child: subprocess.Popen[bytes] | None = None
    came: bool = False

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note it; what did not come from the terminal came to us alone, and goes to the child."""
        self.came = True
        if number != signal.SIGINT:
            self.end_child(number)
        else:  # from the terminal the child has it too; if that was none, it is ended later
            grace = threading.Timer(GRACE_S, self.end_child, (signal.SIGTERM,))
            grace.daemon = True
            grace.start()

    def end_child(self, number: int) -> None:
        """Give it a signal if it still runs."""
        if self.child is not None:
            self.child.send_signal(number)


def run_child(command: Sequence[str]) -> Ended:
    """Run a command to its end, however often we are asked to stop: it has results to write."""
    sys.stdout.flush()
    stops = _Stops()
    with signals_taken(stops.take, _SIGNALS):
        stops.child = subprocess.Popen(command)
        status = stops.child.wait()  # without a timeout, which would look again and again
    return Ended(status, stops.came or status < 0)
