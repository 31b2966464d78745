"""Where commands run: a host starts a command and gives back its output as lines of text.

`LocalHost` runs subprocesses. Another kind of host only has to offer the same two classes: a
command goes in as a list of arguments, secrets go in by the environment and never by the command
line, text lines come out, and everything the process says is kept in log files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_dllama.errors import ToldError
from pytest_dllama.files.reasons import reason_of
from pytest_dllama.record.hosts import HostRecord, PairRecord

if TYPE_CHECKING:
    from pytest_dllama.models.engine_facts import ModelConfig

STOP_GRACE_S = 5.0
_TAIL_BYTES = 4000


class HostError(ToldError, RuntimeError):
    """A command that a host could not start."""


class HostProcess(Protocol):
    """A command that runs on a host."""

    name: str
    log_files: tuple[Path, ...]
    kept: bool  # it stays for the next session
    taken: bool  # an earlier session started it

    @property
    def pid(self) -> int | None:
        """The process's id on its host, where that is known."""

    @property
    def lost(self) -> str | None:
        """Why it was given up from here, if it was: a log without room, a host out of reach."""

    def read_line(self, timeout_s: float) -> str | None:
        """The next line of standard output; None at its end; TimeoutError after `timeout_s`."""

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs after `timeout_s`."""

    def signal_stop(self) -> None:
        """Ask the process to end, without waiting."""

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process, by force after `grace_s`."""

    def leave(self) -> None:
        """Let go of a process that is kept, without ending it."""

    def error_tail(self) -> str:
        """The last lines the process wrote to standard error."""

    def watch_memory(self, *, forget: bool) -> None:
        """From now on its peak memory is of interest; `forget` the peaks before now."""

    def sample_memory(self) -> None:
        """Read the peaks so far, where no agent beside the process does; cheap."""

    def memory_peaks(self) -> Mapping[str, int | None]:
        """`rss_bytes` and `pss_bytes`; None for what is not known."""


class Host(Protocol):
    """A machine that runs commands."""

    name: str
    port: int  # at which port; 0: any free one
    nthreads: int | None  # of a process there; None: as many as elsewhere
    parent: str  # whose end a process there must not outlive: a process id, or "stdin"

    @property
    def address(self) -> str:
        """Where its workers listen."""

    def start(
        self,
        command: Sequence[str],
        name: str,
        logs: Path,
        secrets: Mapping[str, str],
        *,
        keep: bool = False,
    ) -> HostProcess:
        """Start a command; its output goes to files of `logs` named after `name`.

        With `keep` it may be one that an earlier session left running, and it stays for the next.
        """

    def place(self, file: Path) -> Path:
        """A file of this machine as the host's processes find it; sent there if need be."""

    def available_bytes(self) -> int | None:
        """Memory that it can give now, limits of containers included; None: not known."""

    def reaches(self, address: str, port: int, token: str, timeout_s: float) -> bool:
        """Whether a worker answers the handshake when asked from there; False: not known."""


class Progress(Protocol):
    """Where long work tells how far it is."""

    def overall(self, what: str, done: float, total: float) -> None:
        """How far all of the work is, in words ("cell 3 of 6") and in whatever unit."""

    def stage(self, text: str) -> None:
        """Something new begins."""

    def detail(self, text: str) -> None:
        """How far it is, in words."""

    def bar(self, done: float, total: float) -> None:
        """How far it is."""

    def transfer(self, done_bytes: float, total_bytes: float) -> None:
        """How far it is, in bytes."""

    def settle(self, text: str) -> None:
        """A line that stays."""

    def running(self) -> AbstractContextManager[None]:
        """While the body runs, stages and details may come."""


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """A model that hosts shall hold, with the largest KV cache of its cells."""

    config: ModelConfig
    max_seq_len: int  # positions
    kv_type: str

    @property
    def cache_weight(self) -> int:
        """What compares caches of one model."""
        return self.max_seq_len * (1 if self.kv_type == "f16" else 2)


class Hosts(Protocol):
    """The machines of a session."""

    kind: Literal["local", "ssh"]
    pairs: tuple[PairRecord, ...]  # the links between them
    kept_token: str | None  # what workers that stay between sessions hold; None: none stays
    network: str  # the emulated one between them, in words; empty: they have links of their own

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of them."""

    def records(self) -> tuple[HostRecord, ...]:
        """What they are and how they fared; none where this machine is all."""

    def identify(self, nodes: int) -> Sequence[HostRecord | None]:
        """The hosts of `nodes` nodes as they are found; None for one that cannot be reached.

        Empty where this machine is all.
        """

    @property
    def names_programs(self) -> bool:
        """Whether commands name a program that other machines must have."""

    def missing_programs(self, nodes: int) -> Mapping[str, str]:
        """Programs that commands name and a host lacks, by its name.

        Hosts that cannot be reached are left out: `check` tells of them.
        """

    def check(
        self, nodes: int, needed: int, models: Sequence[ModelNeed], progress: Progress
    ) -> None:
        """Look whether the hosts of `nodes` nodes can hold these models; sends nothing.

        Raises:
            HostError: one of the first `needed` cannot; each host's result.
        """

    def prepare(
        self, nodes: int, needed: int, models: Sequence[Path], progress: Progress
    ) -> Sequence[Host]:
        """Hosts for the ranks of `nodes` nodes, ready to run these models.

        Raises:
            HostError: one of the first `needed` is not ready; each host's result.
        """

    def memory_sites(self, nodes: int, nthreads: int) -> Sequence[MemorySite]:
        """The machines of `nodes` nodes of `nthreads` threads, unless a host has its own number."""

    def power_sites(self, nodes: int) -> Sequence[PowerSite]:
        """The machines of `nodes` nodes whose power may be known, each once."""

    def cool_down(self, limit_c: float, progress: Progress) -> None:
        """Wait until all are as cool as that, or do not get any cooler."""

    def close(self) -> list[str]:
        """Leave nothing behind; what could not be cleared away, in sentences."""


def unwritable(log: Path, error: OSError) -> str:
    """Why a process is ended whose log cannot be kept, and what helps."""
    return (
        f"the log {log} cannot be written ({reason_of(error)}); make room there, or name "
        "another --report folder"
    )


def tail(path: Path, n_lines: int = 8) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        data = path.read_bytes()[-_TAIL_BYTES:]
    except OSError:
        return ""
    return "\n".join(data.decode("utf-8", errors="replace").splitlines()[-n_lines:])


@dataclass(frozen=True, slots=True)
class MemoryRates:
    """What a machine's memory delivered."""

    bytes_per_s: Mapping[int, float]  # by number of reading threads
    cpu_share: float  # of the time that its threads ran; below 1 others took their cores


@dataclass(frozen=True, slots=True)
class MemorySite:
    """A machine whose memory can be measured, with the ranks that it runs."""

    hosts: tuple[str, ...]
    ranks: tuple[int, ...]
    threads: int  # of each rank, the most
    cores: int
    cache_bytes: int | None
    probe: Callable[[Sequence[int]], MemoryRates]  # of so many threads; raises HostError


@dataclass(frozen=True, slots=True)
class PowerFeed:
    """Lines of an agent that reads its machine's meter."""

    lines: Iterator[bytes]  # they end with the agent
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class PowerSite:
    """A machine whose power may be known, with the ranks that it runs."""

    hosts: tuple[str, ...]
    ranks: tuple[int, ...]
    open: Callable[[], PowerFeed]  # raises HostError
    clock_offset_s: float = 0.0  # its clock minus the controller's
