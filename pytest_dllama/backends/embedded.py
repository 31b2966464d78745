"""The embedded engine: its command lines, its events, and what its files say about a model.

The only module that knows `engine`; everything measured comes from its processes' output.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dllama_engine.cli.flags.parsing import root_flags
from dllama_engine.errors import EngineError
from dllama_engine.injection import Injection, parse_injection
from dllama_engine.kernels.cpu import VARIANTS, available_variants
from dllama_engine.kernels.image import store
from dllama_engine.memory_rate import rate_text
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.wire.connecting.handshake import probe_worker
from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.stream import Event, parse_event
from pytest_dllama.hosts.base import HostProcess
from pytest_dllama.hosts.command import PROGRAM

_MACHINE_FLAGS = {"--events": 1, "--exit-with-parent": 1}  # and how many values each takes
# What the lab sets itself, and what only the two other modes read.
_GIVEN = frozenset(
    (
        *("model", "tokenizer", "prompt", "file", "workers", "timeout", "context-depth"),
        *("token-file", "events", "exit-with-parent", "host", "port", "idle-timeout"),
        *("nodes", "shape", "json", "chat-template", "inject", "trace"),
        *("memory-rate", "requests", "decode-from"),
    )
)


class EmbeddedBackend:
    """`dllama-py`, the engine of this project.

    Args:
        swept: further options of its root, as `--sweep` names them.
        inject: how each of its processes is slowed down on purpose; empty: it is not.
        memory_bps: bytes a second of the memory of the boards they emulate; None: of none.

    Raises:
        ConfigError: `inject` is none that the engine knows.
    """

    name = "embedded"
    reference: Backend | None = None
    cannot_give: Mapping[str, str] = MappingProxyType({})
    fills_context = True
    tells_spans = True
    runs_again = True
    takes_picks = True
    has_f16_cache = True

    def __init__(
        self,
        swept: Sequence[tuple[str, str]] = (),
        inject: str = "",
        memory_bps: float | None = None,
    ) -> None:
        self._swept = tuple(swept)
        if inject:
            _injection(inject)
        emulated = ("--memory-rate", rate_text(memory_bps)) if memory_bps else ()
        self._inject = *(("--inject", inject) if inject else ()), *emulated

    def decoding_from(self, token_id: int) -> EmbeddedBackend:
        """The same engine, which takes this for a prompt's last token."""
        other = copy.copy(self)
        other.name = f"{self.name}-from-{token_id}"
        other._swept = (*self._swept, ("decode-from", str(token_id)))
        return other

    def must_compile(self) -> bool:
        """Whether no image of machine code is there for this process's engine."""
        return store.is_wanted() and store.find(lambda line: None) is None

    def worker_command(self, host: str, port: int, nthreads: int, parent: str) -> list[str]:
        """Arguments that start a worker."""
        return [
            *(PROGRAM, "worker", "--host", host, "--port", str(port)),
            *("--nthreads", str(nthreads)),
            *self._inject,
            *_machine_flags(parent),
        ]

    def root_command(
        self, request: EngineRequest, workers: Sequence[str], parent: str
    ) -> list[str]:
        """Arguments that run one request."""
        return [
            *(PROGRAM, "inference"),
            *("--model", str(request.model_file), "--tokenizer", str(request.tokenizer_file)),
            *("--prompt", request.prompt, "--steps", str(request.steps)),
            *("--nthreads", str(request.nthreads)),
            *("--buffer-float-type", request.buffer_float_type),
            *("--sync-mode", request.sync_mode),
            *("--temperature", f"{request.temperature:g}", "--seed", str(request.seed)),
            *(("--max-seq-len", str(request.max_seq_len)) if request.max_seq_len else ()),
            *(("--kv-type", request.kv_type) if request.kv_type != "f32" else ()),
            *(("--collective", request.collective) if request.collective != "mesh" else ()),
            *(("--overlap", request.overlap) if request.overlap != "off" else ()),
            *(("--context-depth", str(request.context_depth)) if request.context_depth else ()),
            *(("--trace", "-") if request.trace else ()),
            *(("--requests", str(request.requests)) if request.requests > 1 else ()),
            *(word for name, value in self._swept for word in (f"--{name}", value)),
            *("--timeout", f"{request.timeout_s:g}"),
            *(("--workers", *workers) if workers else ()),
            *self._inject,
            *_machine_flags(parent),
        ]

    def memory_bytes(self, ranks: Sequence[RankMemory]) -> int:
        """All parts, the program itself among them."""
        return sum(rank.total_bytes for rank in ranks)

    def shown(self, command: Sequence[str], port: int | None = None) -> tuple[str, ...]:
        """The command without the flags that only a program needs, with the real port."""
        arguments: list[str] = []
        skip = 0
        for argument in command:
            if skip:
                skip -= 1
            elif argument in _MACHINE_FLAGS:
                skip = _MACHINE_FLAGS[argument]
            else:
                arguments.append(argument)
        if port is not None:
            arguments[arguments.index("--port") + 1] = str(port)
        return tuple(arguments)

    def parse(self, line: str) -> Event | None:
        """One JSON line."""
        return parse_event(line)

    def events(
        self, lines: Sequence[str], nodes: int, worker_logs: Sequence[Path] = ()
    ) -> list[Event]:
        """Every line's event."""
        return [event for line in lines if (event := parse_event(line)) is not None]

    def await_idle(self, process: HostProcess, timeout_s: float) -> None:
        """Nothing to wait for: our worker keeps listening, and greets a root that comes early."""

    def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
        """Handshake with a worker and leave."""
        try:
            probe_worker(host, port, token.encode(), timeout_s)
        except (EngineError, OSError) as error:
            raise WorkerNotReady(f"{host}:{port} does not answer the handshake: {error}") from error


def check_injection(text: str, nodes: int, *, on_boards: bool, runs_here: bool) -> None:
    """Refuse what would slow down nothing, or make every cell an ERROR or INVALID.

    Args:
        text: of `--inject`.
        nodes: of the largest cell.
        on_boards: whether the nodes emulate boards.
        runs_here: whether they are processes of this machine.

    Raises:
        ConfigError: a rank that no cell has, kernels that are not there, or slower work on boards.
    """
    found = _injection(text)
    for work in found.slow:
        if work.rank is not None and work.rank >= nodes:
            raise ConfigError(
                f"--inject {text!r}: no cell has a rank {work.rank}: the largest has {nodes} "
                f"node{'s' if nodes > 1 else ''}, rank 0 is the root"
            )
    there = available_variants() if runs_here else list(VARIANTS)
    if found.kernel and found.kernel not in there:
        whose = "this CPU can run" if runs_here else "there are"
        raise ConfigError(
            f"--inject {text!r}: no kernels {found.kernel!r}; {whose} {_listed(there)}"
        )
    if on_boards and (found.slow or found.kernel):
        raise ConfigError(
            f"--inject {text!r} and --emulate exclude each other: a board computes as slowly as "
            "its memory reads, so that slower work is lost in that or makes the node no such "
            "board; write tpot=, ttft= or sampling=, or --link and --nodes in place of --emulate"
        )


def _injection(text: str) -> Injection:
    try:
        return parse_injection(text)
    except EngineError as error:
        raise ConfigError(str(error)) from None


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def why_not_swept(name: str, value: str) -> str | None:
    """Why the root of this engine cannot be given an option; None where it can."""
    flags = root_flags()
    if name not in flags or name in _GIVEN:
        near = difflib.get_close_matches(name, sorted(set(flags) - _GIVEN), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"the embedded engine has no option --{name} that can be swept{meant}"
    return flags[name](value)


def _machine_flags(parent: str) -> list[str]:
    return ["--events", "-", "--exit-with-parent", parent]
