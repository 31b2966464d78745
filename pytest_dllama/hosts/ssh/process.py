"""A process on another machine, seen through its follower's lines."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pytest_dllama.hosts.base import STOP_GRACE_S, HostError, tail, unwritable
from pytest_dllama.hosts.lines import Lines
from pytest_dllama.hosts.ssh.agent_client import AgentClient
from pytest_dllama.hosts.ssh.channel import Channel, ConnectionLost

RECONNECT_S = 20.0  # how long a lost connection is tried again
MEMORY_ANSWER_S = 5.0
HEARTBEATS = 6  # of them fit one lease


class SshProcess:
    """A detached process that a host's agent started.

    Its lines come back through a follower. A lost connection is made again, and the lines go on
    where they ended; a host that stays away fails `read_line`, and its lease ends the process.
    """

    def __init__(self, agent: AgentClient, name: str, folder: str, pid: int, logs: Path) -> None:
        self.name = name
        self.log_files: tuple[Path, ...] = (
            logs / f"{name}.stdout.log",
            logs / f"{name}.stderr.log",
        )
        self._agent = agent
        self._folder = folder
        self._pid = pid
        self._offsets = [0, 0, 0]  # of output, errors and samples
        self._lease_s = agent.lease_s
        self.kept = self.taken = False
        self.launcher = ""  # what detached it on its host
        self.samples: list[dict[str, Any]] = []
        self._peaks: dict[str, int | None] = {}
        self._peaks_came = threading.Event()
        self._watches_memory = False
        self._lines = Lines(name)
        self._channel: Channel | None = None
        self._code: int | None = None
        self._lost: str | None = None
        self._ended = threading.Event()
        self._stopping = False
        self._reader = threading.Thread(target=self._read, name=f"follow-{name}", daemon=True)
        self._heart = threading.Thread(target=self._beat, name=f"lease-{name}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process's id on its host."""
        return self._pid

    @property
    def lost(self) -> str | None:
        """Why it was given up: its host is out of reach, or its log here cannot be written."""
        return self._lost

    def keep(self, lease_s: float, *, taken: bool, samples_bytes: int) -> None:
        """It stays for the next session; one that was taken has samples of earlier ones."""
        self.kept, self.taken, self._lease_s = True, taken, lease_s
        self._offsets[2] = samples_bytes

    def attach(self) -> None:
        """Begin to follow.

        Raises:
            HostError: a log file cannot be written here, or the connection cannot be made.
        """
        for file in self.log_files:
            try:
                file.write_bytes(b"")
            except OSError as error:
                raise HostError(unwritable(file, error)) from None
        self._channel = self._open()
        self._reader.start()
        self._heart.start()

    def _open(self) -> Channel:
        connection = self._agent.connection
        return connection.channel(self._agent.follow_command(self._folder, self._offsets))

    # -- what comes ----------------------------------------------------------------------------

    def _read(self) -> None:
        """Follow to the end of the process, through as many connections as it takes."""
        until_s = None
        while not self._ended.is_set():
            channel = self._channel
            try:
                if channel is None:
                    channel = self._channel = self._open()
                    if self._watches_memory:
                        self._send(b"W\n")
                if self._take(channel):
                    until_s = None
                channel.close()
                reason = "connection lost"
            except HostError as error:
                reason = str(error)
            except OSError as error:  # of the log's: what comes over the connection is a HostError
                self._lost = unwritable(self.log_files[0], error)
                self._send(b"T\n")
                self._ended.set()
                break
            self._channel = None
            until_s = until_s or time.monotonic() + (RECONNECT_S if not self._stopping else 0)
            if not self._ended.wait(0.5) and time.monotonic() > until_s:
                self._give_up(reason)
        self._lines.end()

    def _take(self, channel: Channel) -> bool:
        """Keep the lines of one follower; whether any came."""
        some = False
        with self.log_files[0].open("ab") as out, self.log_files[1].open("ab") as err:
            for frame in channel.lines():
                some = True
                kind, line = frame[:1], frame[1:]
                if kind in b"oO":
                    self._keep(out, line, 0, whole=kind == b"o")
                    self._lines.put(line + b"\n")
                elif kind in b"eE":
                    self._keep(err, line, 1, whole=kind == b"e")
                elif kind in b"sS":
                    self._offsets[2] += len(line) + 1
                    self.samples.append(json.loads(line))
                elif kind == b"m":
                    self._peaks = json.loads(line)
                    self._peaks_came.set()
                elif kind == b"x":
                    self._code = int(line)
                    self._ended.set()
                else:
                    raise HostError(f"{self._agent.connection.where}: {frame.decode()}")
        return some

    def _keep(self, log: IO[bytes], line: bytes, stream: int, *, whole: bool) -> None:
        data = line + b"\n" if whole else line
        self._offsets[stream] += len(data)
        log.write(data)
        log.flush()

    def _give_up(self, reason: str) -> None:
        self._lost = (
            f"{self.name} is out of reach: {reason}; it ends by itself within {self._lease_s:g} s"
        )
        self._ended.set()

    # -- what goes -----------------------------------------------------------------------------

    def _beat(self) -> None:
        """Renew the lease for as long as this program lives and the process does."""
        while not self._ended.wait(self._lease_s / HEARTBEATS):
            self._send(b"\n")

    def _send(self, order: bytes) -> bool:
        channel = self._channel
        if channel is None:
            return False
        try:
            channel.send(order)
        except ConnectionLost:
            return False
        return True

    # -- the process ---------------------------------------------------------------------------

    def read_line(self, timeout_s: float) -> str | None:
        """The next line; None at the end of the output.

        Raises:
            TimeoutError: no line came within `timeout_s`.
            HostError: the host is out of reach.
        """
        line = self._lines.read(timeout_s)
        if line is None and self._lost is not None:
            raise ConnectionLost(self._lost)
        return line

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs or is out of reach."""
        self._ended.wait(timeout_s)
        return self._code

    def signal_stop(self) -> None:
        """Ask the process and its children to end; once, for a second SIGTERM is a harsher one."""
        if not self._stopping:
            self._stopping = True
            self._send(b"T\n")

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process and its children, by force after `grace_s`; out of reach, its lease does.

        A host that cannot be reached is no error here: teardown goes on with the others.
        """
        self.signal_stop()
        if self._lost is None and self.wait(grace_s) is None:
            self._send(b"K\n")
            self.wait(grace_s)
        self._detach(grace_s)

    def leave(self) -> None:
        """Let go of a kept process; from now on its lease runs."""
        self._send(b"\n")
        self._stopping = True
        self._detach(STOP_GRACE_S)

    def abandon(self) -> None:
        """Nobody asks for it any more: a follower that ends now is not followed by another."""
        if not self._ended.is_set():
            self._stopping = True
            self._detach(1.0)

    def _detach(self, grace_s: float) -> None:
        self._ended.set()
        if self._channel is not None:
            self._channel.close()
        if self._reader.is_alive():
            self._reader.join(grace_s)

    def watch_memory(self, *, forget: bool) -> None:
        """Have the follower read the engine's memory from now on."""
        self._watches_memory = True
        if forget:
            self._ask_peaks(b"M\n")
        else:
            self._send(b"W\n")

    def sample_memory(self) -> None:
        """Nothing: the follower looks."""

    def memory_peaks(self) -> Mapping[str, int | None]:
        """What the follower saw, up to the end of the process if it has ended."""
        if not self._ended.is_set():
            self._ask_peaks(b"P\n")
        return self._peaks

    def _ask_peaks(self, order: bytes) -> None:
        self._peaks_came.clear()
        if self._send(order):
            until_s = time.monotonic() + MEMORY_ANSWER_S
            while not self._ended.is_set() and time.monotonic() < until_s:
                if self._peaks_came.wait(0.05):
                    return

    def error_tail(self) -> str:
        """The last lines of standard error."""
        return tail(self.log_files[1])
