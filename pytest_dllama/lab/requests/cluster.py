"""The workers of a session: provisioned together, probed, restarted when dead, always stopped."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_dllama.backends.base import Backend, IdentifiesPrograms, WorkerNotReady
from pytest_dllama.events.base import EventFormatError
from pytest_dllama.events.session import Error, Listening
from pytest_dllama.hosts.base import STOP_GRACE_S, Host, HostError, HostProcess, tail
from pytest_dllama.hosts.links.emulated import EmulatedHost
from pytest_dllama.hosts.links.network import EmulatedNetwork
from pytest_dllama.hosts.links.relay import LinkRelay

TOKEN_VARIABLE = "DLLAMA_PY_TOKEN"  # the name, not the secret
START_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 60.0  # a dllama that lost its root gives up after so long


class ClusterError(RuntimeError):
    """Workers that do not come up; the message carries every worker's own reason."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that listens."""

    rank: int
    process: HostProcess
    host: str
    port: int
    command: tuple[str, ...]  # as a person would type it
    through: str = ""  # `host:port` by which the others reach it, where links are emulated

    @property
    def address(self) -> str:
        """`host:port`, as dllama's --workers takes it."""
        return self.through or f"{self.host}:{self.port}"


class Cluster:
    """Workers on hosts: rank `r` runs on `hosts[r]`, the root on `hosts[0]`.

    Args:
        hosts: one for each rank, the root's first.
        backend: the engine.
        logs: folder of the processes' logs.
        nthreads: threads of each worker.
        kept_token: token of workers that stay between sessions; None: none stays.
        prefix: of its processes' names, where several clusters use the same hosts.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        backend: Backend,
        logs: Path,
        nthreads: int,
        kept_token: str | None = None,
        prefix: str = "",
    ) -> None:
        self._prefix = prefix
        self.hosts = tuple(hosts)
        self.backend = backend
        self.logs = logs
        self._nthreads = nthreads
        self._keep = kept_token is not None
        self._token = kept_token or secrets.token_hex(32)
        self._workers: dict[int, Worker] = {}
        self._starts: dict[int, int] = {}
        self._processes: list[HostProcess] = []
        self._network: EmulatedNetwork | None = None

    @property
    def secrets(self) -> dict[str, str]:
        """What a process needs to belong to this cluster; goes by its environment."""
        return {TOKEN_VARIABLE: self._token}

    def use(self, backend: Backend, nthreads: int) -> None:
        """From now on with this engine and so many threads: workers of others are stopped."""
        if backend is self.backend and nthreads == self._nthreads:
            return
        self.backend, self._nthreads = backend, nthreads
        for worker in self._workers.values():
            worker.process.signal_stop()
        for worker in self._workers.values():
            self.finish(worker.process)
        self._workers.clear()

    def name_of(self, process: str) -> str:
        """A process's name among those of all clusters on these hosts."""
        return f"{self._prefix}{process}"

    def workers(self, nodes: int) -> tuple[Worker, ...]:
        """The workers of a cluster of `nodes`, the root being one of them."""
        return tuple(self._workers[rank] for rank in range(1, nodes))

    def ensure(
        self, nodes: int, report: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Have a healthy worker on every rank of a cluster of `nodes`, restarting dead ones.

        Raises:
            ClusterError: workers that do not come up, with each one's reason.
        """
        if isinstance(self.backend, IdentifiesPrograms):
            try:
                self.backend.identify_programs(self.hosts[:nodes], self.logs)
            except (HostError, WorkerNotReady) as error:
                raise ClusterError(str(error)) from error
        self._ensure_network(nodes)
        ranks = range(1, nodes)
        missing = [rank for rank in ranks if not self._is_healthy(rank)]
        started, failures = self._launch(missing)
        for n_done, (rank, process) in enumerate(started.items()):
            report(n_done, len(started))
            try:
                self._workers[rank] = self._await_worker_or_anew(rank, process)
            except (ClusterError, HostError) as error:
                failures.append(f"worker {rank} on {self.hosts[rank].name}: {error}")
        if failures:
            raise ClusterError("; ".join(failures))

    def _ensure_network(self, nodes: int) -> None:
        """Have emulated links up before workers are routed over them."""
        host = self.hosts[0]
        if nodes < 2 or not isinstance(host, EmulatedHost):
            return
        if self._network is None:
            name, start = self.name_of("links"), self._start_relay
            relay = LinkRelay(host.topology, len(self.hosts), self.logs, name, start)
            self._network = EmulatedNetwork(relay)
        try:
            self._network.ensure()
        except (HostError, OSError) as error:
            raise ClusterError(str(error)) from error
        for worker in self._workers.values():  # a relay that was started anew has other ports
            self._workers[worker.rank] = replace(worker, through=self._through(worker))

    def _start_relay(self, command: Sequence[str], name: str) -> HostProcess:
        return self.start(0, command, name)

    def _through(self, worker: Worker) -> str:
        if self._network is None:
            return ""
        return self._network.route(worker.rank, worker.host, worker.port, worker.process.pid)

    @property
    def network(self) -> EmulatedNetwork | None:
        """The emulated links, where there are any."""
        return self._network

    def _await_worker_or_anew(self, rank: int, process: HostProcess) -> Worker:
        """A worker that an earlier session left and that does not answer is started anew, once."""
        try:
            return self._await_worker(rank, process)
        except ClusterError:
            process.stop()
            if not process.taken:
                raise
        anew = self._start_worker(rank)
        try:
            return self._await_worker(rank, anew)
        except ClusterError:
            anew.stop()
            raise

    def _is_healthy(self, rank: int) -> bool:
        """Alive and answering the handshake; a worker that is not is put out of the way."""
        worker = self._workers.get(rank)
        if worker is None:
            return False
        if worker.process.wait(0) is None:
            with contextlib.suppress(WorkerNotReady):
                self._probe(worker)
                return True
        del self._workers[rank]
        worker.process.stop()
        return False

    def _launch(self, ranks: Sequence[int]) -> tuple[dict[int, HostProcess], list[str]]:
        """Start workers side by side; readiness is awaited afterwards."""
        started: dict[int, HostProcess] = {}
        failures: list[str] = []
        for rank in ranks:
            try:
                started[rank] = self._start_worker(rank)
            except (HostError, WorkerNotReady) as error:
                failures.append(f"worker {rank}: {error}")
        return started, failures

    def _start_worker(self, rank: int) -> HostProcess:
        command, name = self._worker_command(rank), self._log_name(rank)
        return self.start(rank, command, name, keep=self._keep)

    def _worker_command(self, rank: int) -> list[str]:
        host = self.hosts[rank]
        nthreads = host.nthreads or self._nthreads
        return self.backend.worker_command(host.address, host.port, nthreads, host.parent)

    def _log_name(self, rank: int) -> str:
        """Each start of a worker has logs of its own."""
        self._starts[rank] = self._starts.get(rank, 0) + 1
        again = f".start{self._starts[rank]}" if self._starts[rank] > 1 else ""
        return self.name_of(f"worker{rank}{again}")

    def start(
        self, rank: int, command: Sequence[str], name: str, *, keep: bool = False
    ) -> HostProcess:
        """Start a command on a rank's host; unless kept, it is stopped with the cluster."""
        process = self.hosts[rank].start(command, name, self.logs, self.secrets, keep=keep)
        self._processes.append(process)
        return process

    def _await_worker(self, rank: int, process: HostProcess) -> Worker:
        """Wait until the worker says where it listens, then shake hands."""
        event = self._await_listening(process)
        command = self.backend.shown(self._worker_command(rank), event.port)
        worker = Worker(rank, process, self.hosts[rank].address, event.port, command)
        try:
            self._probe(worker)
        except WorkerNotReady as error:
            raise ClusterError(str(error)) from error
        return replace(worker, through=self._through(worker))

    def _await_listening(self, process: HostProcess) -> Listening:
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                line = process.read_line(max(end - time.monotonic(), 0.0))
                event = None if line is None else self.backend.parse(line)
            except (TimeoutError, EventFormatError, HostError) as error:
                raise ClusterError(f"does not listen: {error}") from None
            if isinstance(event, Listening):
                return event
            if isinstance(event, Error):
                raise ClusterError(event.message)
            if line is None:
                code = process.wait(STOP_GRACE_S)
                raise ClusterError(_ended(process, code))

    def _probe(self, worker: Worker) -> None:
        """Handshake from here, or else from the root's host: that is who must reach it."""
        try:
            self.backend.probe(worker.host, worker.port, self._token, PROBE_TIMEOUT_S)
        except WorkerNotReady:
            if not self.hosts[0].reaches(worker.host, worker.port, self._token, PROBE_TIMEOUT_S):
                raise

    def await_idle(self, nodes: int) -> None:
        """Wait until the workers of `nodes` nodes take a root; raises WorkerNotReady."""
        for worker in self.workers(nodes):
            self.backend.await_idle(worker.process, IDLE_TIMEOUT_S)

    def finish(self, process: HostProcess) -> None:
        """Stop one process, whether it has ended or not."""
        process.stop()
        with contextlib.suppress(ValueError):  # the whole cluster is being stopped meanwhile
            self._processes.remove(process)

    def stop(self) -> None:
        """Stop every process that was started, but for kept workers; safe to call twice."""
        if self._network is not None:
            self._network.close()
        for process in self._processes.copy():
            if not process.kept:
                process.signal_stop()
        for process in reversed(self._processes.copy()):
            process.leave() if process.kept else process.stop()
            with contextlib.suppress(ValueError):
                self._processes.remove(process)
        self._workers.clear()


def _ended(process: HostProcess, code: int | None) -> str:
    """Of a worker that ended before it listened; dllama tells its errors on standard output."""
    said = process.error_tail() or tail(process.log_files[0], 1)
    last_words = f"its last words: {said}" if said else "it printed nothing"
    return f"ended with exit code {code}; {last_words}"
