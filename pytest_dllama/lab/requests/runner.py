"""One measured request on one cluster: a new root process, its lines read until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.events.base import EventFormatError
from pytest_dllama.events.request import Step
from pytest_dllama.events.stream import Event
from pytest_dllama.events.trace import RequestTrace, TraceError, build_traces
from pytest_dllama.hosts.base import STOP_GRACE_S, Host, HostError, HostProcess
from pytest_dllama.hosts.links.network import NOT_WATCHED, Watch
from pytest_dllama.hosts.links.prober import ProbeSamples
from pytest_dllama.lab.requests.cluster import Cluster, Worker
from pytest_dllama.lab.requests.failure import (
    KILLED,
    SILENT_ENDS,
    RequestFailed,
    death,
    failed_request,
    given_up,
    killed_by,
)
from pytest_dllama.lab.requests.memory_watch import MemoryWatch

POLL_S = 0.2  # how often a line is parsed while the request runs
SILENCE_MARGIN_S = 10.0  # the engine's own deadline comes first: it knows which worker is silent


@dataclass(frozen=True, slots=True)
class RequestRun:
    """A request that was measured."""

    trace: RequestTrace
    command: tuple[str, ...]
    log_files: tuple[Path, ...]
    last_token_s: float | None = None  # when it was read here, seconds since the epoch
    links: ProbeSamples | None = None  # of emulated links, beside it
    again: tuple[RequestTrace, ...] = ()  # of the same request, run again in the same session

    @property
    def traces(self) -> tuple[RequestTrace, ...]:
        """Of every time that the request was run."""
        return (self.trace, *self.again)


@dataclass(frozen=True, slots=True)
class _Running:
    """A root that was started, and what goes on beside it."""

    backend: Backend
    host: Host
    workers: Sequence[Worker]
    process: HostProcess
    command: tuple[str, ...]
    links: Watch
    watch: MemoryWatch | None


def run_request(
    cluster: Cluster,
    request: EngineRequest,
    nodes: int,
    name: str,
    on_event: Callable[[Event], None],
    backend: Backend | None = None,
) -> RequestRun:
    """Run one request on `nodes` nodes.

    Lines are kept as text while the request runs and parsed afterwards, so that reading disturbs
    the measurement as little as may be; `on_event` sees a few of them, for the progress line.
    `backend` is another engine than the cluster's, for a request on one node.

    Raises:
        RequestFailed: the engine's error, a crash, or silence beyond the request's timeout.
    """
    running = _started(cluster, request, nodes, name, backend or cluster.backend)
    process, links = running.process, running.links
    try:
        traces, last_token_s, code = _followed(running, request, nodes, on_event)
    finally:
        cluster.finish(process)
    if code != 0:
        killed = killed_by(code)
        ended = death(killed, running.host) if killed else f"the root ended with exit code {code}"
        raise failed_request(ended, KILLED if killed else "ExitCode", process)
    try:
        links.probe()
    except HostError as error:
        raise RequestFailed(str(error), type(error).__name__, process.log_files) from error
    shown, logs = running.backend.shown(running.command), process.log_files
    return RequestRun(traces[0], shown, logs, last_token_s, links.samples, traces[1:])


def _started(
    cluster: Cluster, request: EngineRequest, nodes: int, name: str, backend: Backend
) -> _Running:
    host, workers = cluster.hosts[0], cluster.workers(nodes)
    links = NOT_WATCHED
    try:
        if cluster.network is not None and workers:
            links = cluster.network.watched(nodes)
        links.probe(rates=True)
        placed = _placed(request, host)
        command = backend.root_command(placed, [w.address for w in workers], host.parent)
        cluster.await_idle(nodes)
        watch = _memory_watch(backend, [worker.process for worker in workers])
        process = cluster.start(0, command, name)
    except (HostError, WorkerNotReady) as error:
        raise RequestFailed(str(error), type(error).__name__) from error
    return _Running(backend, host, workers, process, tuple(command), links, watch)


def _followed(
    running: _Running, request: EngineRequest, nodes: int, on_event: Callable[[Event], None]
) -> tuple[tuple[RequestTrace, ...], float | None, int | None]:
    """The traces of all that the root ran, when its last token came, and its exit code."""
    backend, process, watch = running.backend, running.process, running.watch
    code: int | None = None
    try:
        timeout_s = request.timeout_s + SILENCE_MARGIN_S
        with running.links.beside():
            lines, came_s = _read_lines(process, backend, timeout_s, on_event, watch)
        code = process.wait(STOP_GRACE_S)
        worker_logs = [worker.process.log_files[0] for worker in running.workers]
        trace, *again = build_traces(backend.events(lines, nodes, worker_logs), request.requests)
        trace = watch.fill(trace) if watch else trace
    except TraceError as error:
        raise _untold(running, error, code) from error
    except (TimeoutError, EventFormatError, HostError) as error:
        raise failed_request(str(error), type(error).__name__, process) from error
    return (trace, *again), _last_token_s(lines, came_s, backend), code


def _untold(running: _Running, error: TraceError, code: int | None) -> RequestFailed:
    """Of a request whose events end early or tell an error: who is to blame, as far as is known."""
    message, kind = str(error), error.kind
    if kind in SILENT_ENDS and (killed := killed_by(code)):
        message, kind = f"{death(killed, running.host)}; {message}", KILLED
    message = "; ".join([*running.links.lost(), *given_up(running.workers), message])
    return failed_request(message, kind, running.process)


def _placed(request: EngineRequest, host: Host) -> EngineRequest:
    """The request as the root's host must be asked: its own paths, its own threads."""
    return replace(
        request,
        model_file=host.place(request.model_file),
        tokenizer_file=host.place(request.tokenizer_file),
        nthreads=host.nthreads or request.nthreads,
    )


def _memory_watch(backend: Backend, workers: Sequence[HostProcess]) -> MemoryWatch | None:
    """For an engine that does not tell its memory itself."""
    if "root_peak_rss_bytes" not in backend.cannot_give:
        return None
    watch = MemoryWatch(workers)
    watch.start()
    return watch


def _read_lines(
    process: HostProcess,
    backend: Backend,
    timeout_s: float,
    on_event: Callable[[Event], None],
    watch: MemoryWatch | None,
) -> tuple[list[str], list[float]]:
    """All lines up to the end of the output, and when each came, in seconds since the epoch.

    The newest is shown a few times a second.
    """
    lines: list[str] = []
    came_s: list[float] = []
    n_seen = 0
    if watch is not None:
        watch.sample(process)
    last_parse_s = last_line_s = time.monotonic()
    while True:
        try:
            line = process.read_line(POLL_S)
        except TimeoutError:
            if time.monotonic() - last_line_s > timeout_s:
                message = f"{process.name} printed nothing for {timeout_s:g} s"
                raise TimeoutError(message) from None
        else:
            if line is None:
                return lines, came_s
            lines.append(line)
            came_s.append(time.time())
            last_line_s = time.monotonic()
        if watch is not None:
            watch.sample(process)
        if len(lines) > n_seen and time.monotonic() - last_parse_s > POLL_S:
            n_seen, last_parse_s = len(lines), time.monotonic()
            _show(backend.parse(lines[-1]), on_event)


def _last_token_s(lines: Sequence[str], came_s: Sequence[float], backend: Backend) -> float | None:
    """When the line of the last token came; an engine prints it as soon as it has it."""
    for line, at_s in zip(reversed(lines), reversed(came_s), strict=True):
        event = backend.parse(line)
        if isinstance(event, Step) and event.phase == "decode" and event.gave_token:
            return at_s
    return None


def _show(event: Event | None, on_event: Callable[[Event], None]) -> None:
    if event is not None:
        on_event(event)
