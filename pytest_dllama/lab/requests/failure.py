"""Requests that gave no trace: their kinds, and what is said of them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.hosts.base import Host, HostProcess
from pytest_dllama.lab.requests.cluster import Worker

# An engine that ends by itself has no exit code that means one of these.
_NEVER_HANDLED = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
KILLED = "Killed"  # kind of a failure: a signal ended the root


class RequestFailed(RuntimeError):
    """A request that gave no trace; the message is the engine's own where it had one."""

    def __init__(self, message: str, kind: str, log_files: tuple[Path, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.log_files = log_files


# Kinds of an output that stops: the engine left no error of its own (of dllama: `LogEnds`).
SILENT_ENDS = ("TraceError", "LogEnds")


def given_up(workers: Sequence[Worker]) -> list[str]:
    """Why workers were ended from here: what the root says of them is a consequence."""
    return [
        f"worker {worker.rank}: {worker.process.lost}" for worker in workers if worker.process.lost
    ]


def killed_by(code: int | None) -> signal.Signals | None:
    """The signal that ended a process, as its parent or a shell between them tells it."""
    if code is None:
        return None
    number = -code if code < 0 else code - 128
    known = number in signal.valid_signals() and (code < 0 or number in _NEVER_HANDLED)
    return signal.Signals(number) if known else None


def death(killed: signal.Signals, host: Host) -> str:
    """In words, with what is known of the commonest cause."""
    free_bytes = host.available_bytes()
    then = f"{free_bytes / 1e6:.0f} MB" if free_bytes is not None else "an unknown amount"
    text = f"the root was killed by {killed.name}; {host.name} had {then} of memory available then"
    if killed is signal.SIGKILL:
        text += " (a host that runs out of memory kills so: see its kernel's log, dmesg)"
    return text


def failed_request(message: str, kind: str, process: HostProcess) -> RequestFailed:
    """With the process's last words when the engine itself left no error event."""
    if kind in (*SILENT_ENDS, "ExitCode", "TimeoutError", KILLED):
        last_words = process.error_tail()
        message = f"{message}; its last words: {last_words}" if last_words else message
    return RequestFailed(message, kind, process.log_files)
