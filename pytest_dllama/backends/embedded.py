"""The embedded engine, `dllama-py`: its command lines and its events.

Models run in its processes only, and everything measured comes from their output.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dllama_engine.errors import EngineError
from dllama_engine.kernels.image import store
from dllama_engine.memory_rate import rate_text
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.wire.connecting.handshake import probe_worker
from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.backends.embedded_options import injection
from pytest_dllama.events.stream import Event, parse_event
from pytest_dllama.hosts.base import HostProcess
from pytest_dllama.hosts.command import PROGRAM

_MACHINE_FLAGS = {"--events": 1, "--exit-with-parent": 1}  # and how many values each takes


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
            injection(inject)
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


def _machine_flags(parent: str) -> list[str]:
    return ["--events", "-", "--exit-with-parent", parent]
