"""What an engine is to the lab: command lines and a parser of output, nothing more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.base import Host, HostProcess

if TYPE_CHECKING:
    from pytest_dllama.models.engine_facts import ModelConfig, RankMemory


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What a root is asked to run; the same for every node count of a model and a workload."""

    model_file: Path
    tokenizer_file: Path
    prompt: str
    steps: int
    nthreads: int
    buffer_float_type: str
    sync_mode: str
    temperature: float
    seed: int
    timeout_s: float
    max_seq_len: int = 0  # positions of the KV cache; 0: the model's context
    kv_type: str = "f32"
    context_depth: int = 0  # positions to fill before the clock starts, see `is_able`
    collective: str = "mesh"
    overlap: str = "off"
    trace: bool = False  # whether it tells its raw spans too (`is_able`)
    requests: int = 1  # how often it is run by one root, see `is_able`


class Backend(Protocol):
    """One engine."""

    name: str
    cannot_give: Mapping[str, str]  # metric -> why this engine never tells it
    reference: Backend | None  # whose one-node run proves this one's text; None: its own

    def worker_command(self, host: str, port: int, nthreads: int, parent: str) -> list[str]:
        """Arguments that start a worker; port 0 lets the system choose.

        `parent` is what the process must not outlive: a process id, or "stdin" for the end of its
        standard input.
        """

    def root_command(
        self, request: EngineRequest, workers: Sequence[str], parent: str
    ) -> list[str]:
        """Arguments that run one request; `workers` are `host:port`, rank 1 first."""

    def shown(self, command: Sequence[str], port: int | None = None) -> tuple[str, ...]:
        """The same command as a person would type it."""

    def parse(self, line: str) -> Event | None:
        """One line of output, for what is shown meanwhile; None when it says nothing."""

    def events(
        self, lines: Sequence[str], nodes: int, worker_logs: Sequence[Path] = ()
    ) -> list[Event]:
        """All that a root's whole output tells; `worker_logs` may help to explain a failure."""

    def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
        """Handshake with a worker and leave; raises `WorkerNotReady`."""

    def await_idle(self, process: HostProcess, timeout_s: float) -> None:
        """Wait until a worker takes the next root's connection; raises `WorkerNotReady`."""


@runtime_checkable
class IdentifiesPrograms(Protocol):
    """An engine whose program is asked for its version before it is driven."""

    def identify_programs(self, hosts: Sequence[Host], logs: Path) -> None:
        """Ask the programs of these hosts, the root's first; raises `WorkerNotReady`."""


@runtime_checkable
class ChecksModels(Protocol):
    """An engine with rules of its own for what it can run."""

    def check_model(self, config: ModelConfig, nodes: int) -> None:
        """Raise ConfigError for a model that it cannot run on so many nodes."""


Ability = Literal["fills_context", "tells_spans", "runs_again", "takes_picks"]


def is_able(engine: Backend, ability: Ability) -> bool:
    """Whether an engine says of itself, by an attribute of this name that is true, what it can do.

    Args:
        engine: any; one without the attribute cannot.
        ability: `fills_context`: fill a part of the context before the clock of a request starts.
            `tells_spans`: tell the raw spans of its nodes, as parts of a trace file.
            `runs_again`: run its request several times by one root, each time loaded anew.
            `takes_picks`: be asked for what its `auto` picked; not each revision can.
    """
    return bool(getattr(engine, ability, False))


@runtime_checkable
class TellsMemory(Protocol):
    """An engine whose need of memory is known before it runs."""

    has_f16_cache: bool

    def memory_bytes(self, ranks: Sequence[RankMemory]) -> int:
        """What all ranks take together, of the parts of the closed form."""


@runtime_checkable
class KnowsFaults(Protocol):
    """An engine that is known to give wrong output for some requests, whatever the cluster."""

    def output_fault(self, request: EngineRequest) -> str | None:
        """Why its output cannot be right; None where it can."""

    def prompt_fault(self, request: EngineRequest) -> str | None:
        """Why it may have made other tokens of the prompt than its files say; None: it did not."""

    def faulty_reference(self, request: EngineRequest) -> Backend | None:
        """An engine whose one-node run gives the output of a known fault, as the proof of it.

        None where there is no fault, or none that can be computed.
        """


@runtime_checkable
class Compiles(Protocol):
    """An engine whose first process on a machine may be busy compiling for a while."""

    def must_compile(self) -> bool:
        """Whether a process that starts here now would compile first."""


class WorkerNotReady(RuntimeError):
    """A worker that does not answer the handshake as one of this cluster."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the command line says of the engine itself."""

    binary: str = ""  # --dllama-bin
    arguments: Sequence[str] = ()  # --dllama-args
    sync_mode: str = "reduce"
    kv_type: str = "f32"
    collective: str = "mesh"
    overlap: str = "off"
    swept: Sequence[tuple[str, str]] = ()  # options of its own that --sweep names, by name
    inject: str = ""  # --inject: how the embedded engine is slowed down on purpose
    memory_bps: float | None = None  # --emulate: bytes a second of each board's memory
    runs_here: bool = True  # false: the program is on other hosts, and looked for there
