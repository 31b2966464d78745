"""This machine: commands are subprocesses."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

from pytest_dllama.files.reasons import reason_of
from pytest_dllama.hosts.agent import room
from pytest_dllama.hosts.agent.memory import FamilyMemory
from pytest_dllama.hosts.agent.supervisor import as_bytes
from pytest_dllama.hosts.base import (
    STOP_GRACE_S,
    Host,
    HostError,
    HostProcess,
    MemorySite,
    ModelNeed,
    PowerSite,
    Progress,
    tail,
    unwritable,
)
from pytest_dllama.hosts.command import own_command, own_environ
from pytest_dllama.hosts.lines import Lines
from pytest_dllama.record.hosts import HostRecord, PairRecord


class LocalHost:
    """This machine: commands are subprocesses in sessions of their own.

    A session of its own keeps a Ctrl-C at the terminal from the process, which is stopped in order
    by its cluster instead.

    Args:
        name: in messages.
        address: where workers listen.
        environment: whose engine runs; None: the one of this interpreter.
    """

    def __init__(
        self,
        name: str = "localhost",
        address: str = "127.0.0.1",
        environment: Path | None = None,
    ) -> None:
        self._environment = environment
        self.name = name
        self.address = address
        self.port = 0
        self.nthreads: int | None = None
        self.parent = str(os.getpid())

    def start(
        self,
        command: Sequence[str],
        name: str,
        logs: Path,
        secrets: Mapping[str, str],
        *,
        keep: bool = False,
    ) -> HostProcess:
        """Start a command; it ends with this program, so none is kept.

        Raises:
            HostError: the program cannot be started.
        """
        stderr_file = logs / f"{name}.stderr.log"
        words = own_command(command, self._environment)
        with _opened(stderr_file) as stderr:
            try:
                popen = subprocess.Popen(
                    [as_bytes(word) for word in words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env={**own_environ(os.environ), **secrets},
                    start_new_session=True,
                )
            except OSError as error:
                raise HostError(
                    f"{command[0]} cannot be started on {self.name}: {reason_of(error)}"
                ) from error
        return LocalProcess(name, popen, logs / f"{name}.stdout.log", stderr_file)

    def place(self, file: Path) -> Path:
        """The file itself."""
        return file

    def available_bytes(self) -> int | None:
        """Memory that this machine, or the container that this is, can give now."""
        return room.available_bytes()

    def reaches(self, address: str, port: int, token: str, timeout_s: float) -> bool:
        """Not known: whoever asks has tried from this very machine."""
        return False


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        raise HostError(unwritable(log, error)) from None


class LocalHosts:
    """Every rank on this machine.

    Args:
        environment: whose engine runs; None: the one of this interpreter.
    """

    kind: Literal["local", "ssh"] = "local"
    pairs: tuple[PairRecord, ...] = ()
    notes: tuple[str, ...] = ()
    kept_token: str | None = None
    network = ""  # the loopback

    def __init__(self, environment: Path | None = None) -> None:
        self._environment = environment

    def records(self) -> tuple[HostRecord, ...]:
        """None: the run's environment describes this machine."""
        return ()

    def identify(self, nodes: int) -> Sequence[HostRecord | None]:
        """None: the run's environment describes this machine."""
        return ()

    @property
    def names_programs(self) -> bool:
        """No: this machine was looked at when the options were."""
        return False

    def missing_programs(self, nodes: int) -> Mapping[str, str]:
        """None."""
        return {}

    def check(
        self, nodes: int, needed: int, models: Sequence[ModelNeed], progress: Progress
    ) -> None:
        """Nothing: this machine was looked at when the options were."""

    def prepare(
        self, nodes: int, needed: int, models: Sequence[Path], progress: Progress
    ) -> Sequence[Host]:
        """One host for each rank."""
        return [LocalHost(environment=self._environment)] * nodes

    def memory_sites(self, nodes: int, nthreads: int) -> Sequence[MemorySite]:
        """This one."""
        from pytest_dllama.hosts.memory_probe import local_memory

        return [local_memory(tuple(range(nodes)), nthreads)]

    def power_sites(self, nodes: int) -> Sequence[PowerSite]:
        """This one, once for all its ranks."""
        from pytest_dllama.hosts.power import local_power

        return [local_power(tuple(range(nodes)))]

    def cool_down(self, limit_c: float, progress: Progress) -> None:
        """Nothing: the option is for hosts of a file."""

    def close(self) -> list[str]:
        """Nothing is left open."""
        return []


class LocalProcess:
    """A subprocess whose output is read by a thread, into a file and a queue."""

    kept = taken = False

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], stdout_file: Path, stderr_file: Path
    ) -> None:
        self.name = name
        self.log_files: tuple[Path, ...] = (stdout_file, stderr_file)
        self._popen = popen
        self._was_told_to_stop = False
        self._lost: str | None = None  # why its output is
        self._memory = FamilyMemory(popen.pid)
        self._lines = Lines(name)
        self._reader = threading.Thread(
            target=self._read, args=(popen.stdout, stdout_file), name=f"read-{name}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._popen.pid

    @property
    def lost(self) -> str | None:
        """Why it was ended: its log cannot be written."""
        return self._lost

    def _read(self, stdout: IO[bytes], log_file: Path) -> None:
        """Lines into the log and the queue; without a log nobody could tell what happened."""
        with stdout:
            try:
                self._copy(stdout, log_file)
            except OSError as error:
                self._lost = unwritable(log_file, error)
                self._signal(signal.SIGTERM)
        self._lines.end()

    def _copy(self, stdout: IO[bytes], log_file: Path) -> None:
        with log_file.open("wb", buffering=0) as log:
            for raw in stdout:
                left = raw
                while left:
                    left = left[log.write(left) :]
                self._lines.put(raw)

    def read_line(self, timeout_s: float) -> str | None:
        """The next line; None at the end of the output.

        Raises:
            TimeoutError: no line came within `timeout_s`.
            HostError: its log cannot be written.
        """
        line = self._lines.read(timeout_s)
        if line is None and self._lost is not None:
            raise HostError(self._lost)
        return line

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal_stop(self) -> None:
        """Ask the process and its children to end; once, for a second SIGTERM is a harsher one."""
        if not self._was_told_to_stop:
            self._was_told_to_stop = True
            self._signal(signal.SIGTERM)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process and its children, by force after `grace_s`."""
        self.signal_stop()
        if self.wait(grace_s) is None:
            self._signal(signal.SIGKILL)
            self.wait(grace_s)
        self._reader.join(grace_s)

    def leave(self) -> None:
        """End it all the same: it is never kept."""
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def error_tail(self) -> str:
        """The last lines of standard error."""
        return tail(self.log_files[1])

    def watch_memory(self, *, forget: bool) -> None:
        """Forget earlier peaks, if asked to."""
        if forget:
            self._memory.restart()

    def sample_memory(self) -> None:
        """Read what it has needed so far."""
        self._memory.sample()

    def memory_peaks(self) -> Mapping[str, int | None]:
        """The peaks, after a last look."""
        self._memory.sample()
        return self._memory.peaks()
