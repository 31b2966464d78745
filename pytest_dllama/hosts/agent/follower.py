"""Follows a process of a host: its output and memory go to the controller, orders come back."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from pytest_dllama.hosts.agent.memory import FamilyMemory
from pytest_dllama.hosts.agent.processes import AgentError, is_alive
from pytest_dllama.hosts.agent.supervisor import POLL_S as SUPERVISOR_POLL_S
from pytest_dllama.hosts.agent.supervisor import signal_group

_POLL_S = 0.05  # while lines come
_QUIET_POLL_S = 0.25  # while none come
_QUIET_AFTER_S = 1.0


class Follower:
    """Sends a process's output as it grows, and takes orders from standard input.

    Sent: `o` and `e` with a line of standard output or error, `O` and `E` with a last line that
    has no end, `s` with a sample of the host, `m` with peaks of memory, `x` with the exit code.
    Taken: an empty line renews the lease, `T` asks the process to end, `K` ends it, `M` forgets
    earlier peaks of its memory and watches it, `W` goes on watching, `P` asks for the peaks. The
    end of standard input ends the follower, never the process.
    """

    def __init__(
        self, folder: Path, stdout_offset: int, stderr_offset: int, samples_offset: int
    ) -> None:
        self._folder = folder
        self._out = sys.stdout.buffer
        self._logs: list[tuple[bytes, IO[bytes]]] = []
        (folder / "samples.log").touch()
        offsets = (
            (b"o", "stdout.log", stdout_offset),
            (b"e", "stderr.log", stderr_offset),
            (b"s", "samples.log", samples_offset),
        )
        for letter, name, offset in offsets:
            try:
                log = (folder / name).open("rb")
            except OSError as error:
                raise AgentError(f"{folder} holds no process any more ({error.strerror})") from None
            log.seek(offset)
            self._logs.append((letter, log))
        self._about = json.loads((folder / "process.json").read_text())
        self._memory: FamilyMemory | None = None
        self._memory_orders: queue.SimpleQueue[str] = queue.SimpleQueue()

    def follow(self) -> None:
        """Forward until the process has ended and all was sent."""
        threading.Thread(target=self._take_orders, daemon=True).start()
        last_line_s = time.monotonic()
        while True:
            code = self._exit_code()
            self._sample_memory()
            if any([self._forward(letter, log) for letter, log in self._logs]):
                last_line_s = time.monotonic()
            if code is not None:
                self._finish(code)
                return
            quiet = time.monotonic() - last_line_s > _QUIET_AFTER_S
            self._pause(_QUIET_POLL_S if quiet else _POLL_S)

    def _pause(self, seconds: float) -> None:
        """Wait; an order about memory is carried out at once."""
        with suppress(queue.Empty):
            self._take_memory_order(self._memory_orders.get(timeout=seconds))

    def _take_memory_order(self, order: str) -> None:
        if self._memory is None:
            self._memory = FamilyMemory(self._about["pid"])
        if order == "M":
            self._memory.restart()
        self._sample_memory()
        if order != "W":
            self._send_peaks()

    def _sample_memory(self) -> None:
        if self._memory is not None:
            self._memory.sample()

    def _send_peaks(self) -> None:
        if self._memory is not None and self._memory.has_seen:
            peaks = self._memory.peaks()
        else:  # it ended before the first sample
            peaks = {"rss_bytes": _whole_life_peak(self._folder), "pss_bytes": None}
        if self._memory is not None or peaks["rss_bytes"] is not None:
            self._out.write(b"m" + json.dumps(peaks).encode() + b"\n")
            self._out.flush()

    def _forward(self, letter: bytes, log: IO[bytes]) -> bool:
        """Send the lines that are complete."""
        start = log.tell()
        data = log.read()
        whole = data.rfind(b"\n") + 1
        log.seek(start + whole)
        for line in _lines(data[:whole]):
            self._out.write(letter + line)
        self._out.flush()
        return whole > 0

    def _finish(self, code: int) -> None:
        for letter, log in self._logs:
            if rest := log.read():
                self._out.write(letter.upper() + rest + b"\n")
        self._send_peaks()
        self._out.write(b"x%d\n" % code)
        self._out.flush()

    def _exit_code(self) -> int | None:
        try:
            return int((self._folder / "exit_code").read_text())
        except (OSError, ValueError):
            pass
        if is_alive(self._about, "supervisor") or is_alive(self._about, ""):
            return None
        time.sleep(SUPERVISOR_POLL_S)  # between the process's end and the supervisor's last word
        try:
            return int((self._folder / "exit_code").read_text())
        except (OSError, ValueError):
            return -signal.SIGKILL

    def _take_orders(self) -> None:
        for line in sys.stdin:
            with suppress(OSError):
                os.utime(self._folder / "lease")
            if line.strip() == "T":
                signal_group(self._about["pid"], signal.SIGTERM)
            elif line.strip() == "K":
                signal_group(self._about["pid"], signal.SIGKILL)
            elif line.strip():
                self._memory_orders.put(line.strip())
        os._exit(0)


def _whole_life_peak(folder: Path) -> int | None:
    """What the supervisor was told when the process ended."""
    try:
        return int((folder / "peak_rss_bytes").read_text())
    except (OSError, ValueError):
        return None


def _lines(data: bytes) -> list[bytes]:
    """Lines with their ends; only a newline ends a line."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]]
