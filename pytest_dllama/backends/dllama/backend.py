"""The real dllama (C++), upstream and fork: its command lines, its text, its workers' habits.

A worker of it serves one root at a time and listens anew after each: a connection that only looks
whether it is there would be taken for a root. So readiness is what it prints, never a probe.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.backends.dllama.asking import engine_of
from pytest_dllama.backends.dllama.events import run_events
from pytest_dllama.backends.dllama.printed.lines import clean, read_line
from pytest_dllama.backends.dllama.printed.log import parse_lines, parse_log
from pytest_dllama.backends.dllama.printed.run import LoggedRun
from pytest_dllama.backends.dllama.rules import refused_nodes, refused_version
from pytest_dllama.backends.dllama.versions import (
    ADD_BOS_UNSET,
    LAST_PLACE,
    OLDEST_DRIVEN,
    UNKNOWN,
    Engine,
    flag_pairs,
)
from pytest_dllama.backends.dllama.workers import PrintingWorkers
from pytest_dllama.backends.process_guard import guarded, unguarded
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.request import Step
from pytest_dllama.events.session import Error, Listening, Note
from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.base import Host, HostProcess
from pytest_dllama.models import engine_facts

if TYPE_CHECKING:
    from pytest_dllama.backends.embedded import EmbeddedBackend
    from pytest_dllama.models.engine_facts import ModelConfig, RankMemory

USUAL_PORT = 9999
_NO_MEMORY = "dllama prints what it will allocate, not what it used; seen from outside only"
_NOT_TOLD = (
    "The program did not tell which dllama it is: the faults that some versions have are not "
    "looked for."
)
_NO_SYNC = "dllama v0.12.0 to v0.12.7 prints a forward pass as a whole"
_NO_PROMPT_TIME = "dllama v0.12.0 to v0.12.7 counts whole ms, and the prompt took none"
PIPELINE_FLAG = "--pp-size"  # the fork's
_PIPELINE = f"with {PIPELINE_FLAG} nodes hold layers, and the closed form is of equal slices"
CANNOT_GIVE: Mapping[str, str] = MappingProxyType(
    {
        "bandwidth_mbps": "dllama does not print how long its links were busy",
        "root_peak_rss_bytes": _NO_MEMORY,
        "worker_peak_rss_bytes": _NO_MEMORY,
        "load_s": "dllama does not print how long loading took",
    }
)


class DllamaBackend:
    """`dllama` at a path of its host.

    Args:
        binary: the program, as the host finds it.
        more_arguments: for root and workers alike, such as the fork's `--collective star`.
        reference: our own engine, which reads the same files and tells logits.
        engine: what the program is, where that is known already; else `look` asks it.
    """

    name = "dllama"
    has_f16_cache = False

    def __init__(
        self,
        binary: str,
        more_arguments: Sequence[str] = (),
        reference: EmbeddedBackend | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.reference: Backend | None = reference
        self._embedded = reference
        self.cannot_give: Mapping[str, str] = CANNOT_GIVE
        if PIPELINE_FLAG in more_arguments:
            self.cannot_give = {**CANNOT_GIVE, "roofline_share": _PIPELINE}
        self._binary = binary
        self._more = tuple(more_arguments)
        self._engine = engine
        if engine is not None:
            self._learn(engine)
        self._engines: dict[str, Engine] = {}  # by a host's address
        self._root = ""  # the address of the root's host
        self._workers = PrintingWorkers()

    def identify_programs(self, hosts: Sequence[Host], logs: Path) -> None:
        """Ask the program of each host once what it is.

        Raises:
            WorkerNotReady: a version that cannot be driven.
            HostError: a host that cannot start it.
        """
        self._root = hosts[0].address
        for host in hosts:
            if self._engine is None and host.address not in self._engines:
                engine = engine_of(host, self._binary, logs, flag_pairs(self._more))
                if why := refused_version(engine, f"{self._binary} on {host.name}"):
                    raise WorkerNotReady(why)
                self._engines[host.address] = engine
                self._learn(engine)

    def _learn(self, engine: Engine) -> None:
        """What this version does not tell."""
        if engine.first == OLDEST_DRIVEN:
            short = dict.fromkeys(("ttft_s", "prefill_tokens_per_s"), _NO_PROMPT_TIME)
            self.cannot_give = {**self.cannot_give, "sync_share": _NO_SYNC, **short}

    def check_model(self, config: ModelConfig, nodes: int) -> None:
        """Refuse what the program would only fail at, before anything starts.

        Raises:
            ConfigError: a node count that it cannot split the model over.
        """
        if why := refused_nodes(config, nodes):
            raise ConfigError(why)

    def memory_bytes(self, ranks: Sequence[RankMemory]) -> int:
        """At least: its slices are those of the closed form, its program is a few MB."""
        return sum(rank.total_bytes - rank.runtime_bytes for rank in ranks)

    def output_fault(self, request: EngineRequest) -> str | None:
        """The stale first token, where this version has it and the prompt meets it."""
        engine = self._at(self._root)
        if not engine.has_fault("stale_first_token"):
            return None
        found = engine_facts.stale_first_token(request.tokenizer_file, request.prompt)
        if found is None:
            return None
        taken, last = found
        return (
            f"dllama's own fault: it decodes the first token from {taken!r}, a stale token, and "
            f"not from {last!r}, the prompt's last; speed counts, the text is not the model's. "
            "A prompt whose last merge is not at its end avoids it"
        )

    def prompt_fault(self, request: EngineRequest) -> str | None:
        """The unset begin token, where this version has it and the tokenizer file lacks the key."""
        has_fault = self._at(self._root).has_fault(ADD_BOS_UNSET)
        if not has_fault or engine_facts.file_tokenizer(request.tokenizer_file).vocab.has_add_bos:
            return None
        return (
            "dllama's own fault: the tokenizer file has no key add_bos, and it reads an unset byte "
            "in its place, so that by chance a prompt begins with the begin token or not; speed "
            "counts, the text is not the model's. A tokenizer converted anew has the key"
        )

    def faulty_reference(self, request: EngineRequest) -> Backend | None:
        """The reference, made to start from the stale token too: its text proves the fault."""
        if self._embedded is None or self.output_fault(request) is None:
            return None
        ids = engine_facts.file_tokenizer(request.tokenizer_file).stale_ids(request.prompt)
        return self._embedded.decoding_from(ids[0]) if ids else None

    def _at(self, address: str) -> Engine:
        return self._engine or self._engines.get(address, UNKNOWN)

    def _more_at(self, engine: Engine) -> list[str]:
        """The further arguments that the program knows."""
        more = self._more
        pairs = [more[i : i + 2] for i in range(0, len(more), 2)]
        return [word for pair in pairs if not engine.lacks(pair[0]) for word in pair]

    def worker_command(self, host: str, port: int, nthreads: int, parent: str) -> list[str]:
        """Arguments that start a worker; dllama has no port 0, so a free one is looked up.

        It is told where to listen if it can be told, which takes an IPv4 address in numbers.
        """
        engine = self._at(host)
        command = [
            *(self._binary, "worker"),
            *(("--host", host) if "--host" in engine.flags and _is_ipv4(host) else ()),
            *("--port", str(port or _free_port(host)), "--nthreads", str(nthreads)),
            *self._more_at(engine),
        ]
        return guarded(command, parent)

    def root_command(
        self, request: EngineRequest, workers: Sequence[str], parent: str
    ) -> list[str]:
        """Arguments that run one request."""
        engine = self._at(self._root)
        has_length = request.max_seq_len and not engine.lacks("--max-seq-len")
        places = (request.max_seq_len or 0) + engine.may_have_fault(LAST_PLACE)
        command = [
            *(self._binary, "inference"),
            *("--model", str(request.model_file), "--tokenizer", str(request.tokenizer_file)),
            *("--prompt", request.prompt, "--steps", str(request.steps)),
            *("--nthreads", str(request.nthreads)),
            *("--buffer-float-type", request.buffer_float_type),
            *("--temperature", f"{request.temperature:g}", "--seed", str(request.seed)),
            *(("--max-seq-len", str(places)) if has_length else ()),
            *self._more_at(engine),
            *(("--workers", *workers) if workers else ()),
        ]
        return guarded(command, parent)

    def shown(self, command: Sequence[str], port: int | None = None) -> tuple[str, ...]:
        """The command without what only keeps it in hand, with the real port."""
        arguments = list(unguarded(command))
        if port is not None:
            arguments[arguments.index("--port") + 1] = str(port)
        return tuple(arguments)

    def parse(self, line: str) -> Event | None:
        """What one line tells while the program runs; `events` reads them all together."""
        found = read_line(clean(line))
        if found is None:
            return None
        match found.kind:
            case "listening":
                return Listening(
                    event="listening", host=found.word("host"), port=found.whole("port")
                )
            case "error":
                message = f"{found.word('kind')} error: {found.word('message')}"
                return Error(event="error", type="DllamaError", message=message)
            case "eval" | "pred":
                return Step(
                    event="step",
                    phase="prefill" if found.kind == "eval" else "decode",
                    index=0,
                    n_tokens=1,
                    start_ns=0,
                    end_ns=0,
                    piece=found.word("piece") if found.kind == "pred" else None,
                )
        return None

    def events(
        self, lines: Sequence[str], nodes: int, worker_logs: Sequence[Path] = ()
    ) -> list[Event]:
        """All that a root's whole output tells; empty when it says nothing of dllama's."""
        runs = [run for run in parse_lines(lines) if not run.is_worker]
        if not runs:
            return []
        sessions = [_last_session(log) for log in worker_logs] if runs[-1].stalls else []
        events = run_events(runs[-1], [s for s in sessions if s is not None], nodes)
        return [*events, *(Note(event="note", text=text) for text in self._remarks(nodes))]

    def _remarks(self, nodes: int) -> list[str]:
        """What the program is, and what follows for this run."""
        engine = self._at(self._root)
        said = [f"The program answers as dllama {engine.version}." if engine.first else _NOT_TOLD]
        passed_over = [flag for flag in flag_pairs(self._more) if engine.lacks(flag)]
        if passed_over:
            said.append(f"Passed over, for this dllama does not know it: {', '.join(passed_over)}.")
        if nodes > 1:
            said += [
                f"A remark on this dllama: {fault.text}."
                for fault in engine.faults
                if fault.name == "binds_all" or (fault.name == "ring_wrong" and nodes >= 4)
            ]
        return said

    def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
        """Nothing: dllama has no handshake, and would take a probe for its root."""

    def await_idle(self, process: HostProcess, timeout_s: float) -> None:
        """Wait until a worker that has served a root listens again, by what it prints.

        Raises:
            WorkerNotReady: it ended, or is still busy after `timeout_s`.
        """
        self._workers.await_idle(process, timeout_s)


def _last_session(log: Path) -> LoggedRun | None:
    """What a worker printed in its newest session."""
    try:
        text = log.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return None
    sessions = [run for run in parse_log(text) if run.rank is not None]
    return sessions[-1] if sessions else None


def _is_ipv4(host: str) -> bool:
    """Whether dllama's --host takes it."""
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:
        return False


def _free_port(host: str) -> int:
    """A port that nobody listens on now; of another machine, the one that dllama's users take."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError:
        return USUAL_PORT
