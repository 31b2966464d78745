"""Sessions of both sides: a pair in turns for measuring, or both at once where nothing is measured.

Every session has a fresh root and fresh workers. Workers of both sides start and end side by side:
that costs once what one side costs, and disturbs no measurement, since requests run in turns.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from pytest_dllama.backends.base import Backend, is_able
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.events.stream import Event
from pytest_dllama.events.trace import Picked
from pytest_dllama.hosts.base import Host, Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import model_needs
from pytest_dllama.lab.pairs.side import Name, Side
from pytest_dllama.lab.requests.asked import check_work, engine_request
from pytest_dllama.lab.requests.cluster import Cluster, Worker
from pytest_dllama.lab.requests.oracle import Oracle, find_oracle, output_against
from pytest_dllama.lab.requests.picks import Picks
from pytest_dllama.lab.requests.runner import RequestRun, run_request
from pytest_dllama.models.model_files import ModelUnderTest
from pytest_dllama.models.workloads import configured
from pytest_dllama.record.cell import OutputRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """One session of one side."""

    run: RequestRun  # with the traces of all its requests
    workers: tuple[Worker, ...]  # that served it; they have ended
    wall_s: float = 0.0  # of its root, or roots
    others: tuple[RequestRun, ...] = ()  # of further roots, where one runs its request once only

    @property
    def runs(self) -> tuple[RequestRun, ...]:
        """Of every root."""
        return (self.run, *self.others)


class Sessions:
    """Runs the sessions of two sides.

    Args:
        sides: base and new.
        models: the models under test, by name.
        logs: folder of the processes' logs.
        progress: where to tell what hosts are made ready for.
    """

    def __init__(
        self,
        sides: tuple[Side, Side],
        models: Mapping[str, ModelUnderTest],
        logs: Path,
        progress: Progress,
    ) -> None:
        self.sides = sides
        self._models, self._logs, self._progress = models, logs, progress
        self._hosts: dict[Name, Sequence[Host]] = {}
        self._oracles: dict[tuple[Name, str], Oracle] = {}
        self._picks = Picks()

    def make_ready(self, keys: Sequence[CellKey], needed: int) -> None:
        """The hosts of both sides for the largest of these cells; `needed` must be there.

        Raises:
            HostError: one of the first `needed` is not ready.
        """
        files = [model.model_file for model in self._models.values()]
        nodes = max(key.nodes for key in keys)
        for side in self.sides:
            needs = model_needs(side.config, keys)
            side.hosts.check(nodes, needed, needs, self._progress)
            hosts = side.hosts.prepare(nodes, needed, files, self._progress)
            for model in self._models.values():  # not by both sides at once, to the same place
                hosts[0].place(model.model_file)
                hosts[0].place(model.tokenizer_file)
            self._hosts[side.name] = hosts

    def pair(
        self, key: CellKey, order: Sequence[Side], name: str, requests: int = 1
    ) -> dict[Name, Session]:
        """So many measured requests a side, in this order, one after the other.

        Where an engine cannot run a request again, roots of both sides take turns on the same
        workers.

        Raises:
            ClusterError, RequestFailed, HostError: a session that gave no figures.
        """
        with self._clusters(key, order, name) as clusters:
            if requests == 1 or self.run_again(key):
                return {
                    side.name: self._measured(side, clusters[side.name], key, requests)
                    for side in order
                }
            turns = [
                {s.name: self._measured(s, clusters[s.name], key, root=_root(n)) for s in order}
                for n in range(requests)
            ]
        return {side.name: _joined([turn[side.name] for turn in turns]) for side in order}

    def run_again(self, key: CellKey) -> bool:
        """Whether the engines of both sides can run a request several times by one root."""
        engines = [side.engine(key.workload) for side in self.sides]
        return all(is_able(engine, "runs_again") for engine in engines)

    def at_once(self, key: CellKey, order: Sequence[Side], name: str) -> dict[Name, Session]:
        """The same with both requests at the same time: warm-ups, whose times do not count."""
        with self._clusters(key, order, name) as clusters:
            return _side_by_side(
                {
                    side.name: partial(self._session, side, clusters[side.name], key)
                    for side in order
                },
                partial(_stop, clusters),
            )

    def prepare_oracles(self, key: CellKey, prefix: str = "") -> None:
        """The one-node runs of this cell's work: one a side, or one that both share.

        Args:
            key: the cell.
            prefix: of their names: a host runs nothing under a name that it had before.

        Raises:
            ClusterError, RequestFailed, HostError: an engine that has no reference gave nothing.
        """
        missing = [s for s in self.sides if (s.name, _work(key)) not in self._oracles]
        if not missing:
            return
        model = self._models[key.model]
        shared = len(missing) > 1 and _same_reference(missing[0], missing[1], model, key)
        who = missing[-1:] if shared else missing
        alone = CellKey(key.model, 1, key.workload)
        with self._clusters(alone, who, f"{prefix}oracle") as clusters:
            found = _side_by_side(
                {s.name: partial(self._oracle, s, clusters[s.name], alone) for s in who},
                partial(_stop, clusters),
            )
        for side in missing:
            self._oracles[side.name, _work(key)] = found[who[-1].name if shared else side.name]

    def oracle_runs(self, key: CellKey) -> list[RequestRun]:
        """The one-node runs of this cell's work, once they were prepared."""
        oracles = [self._oracles.get((side.name, _work(key))) for side in self.sides]
        return [oracle.run for oracle in oracles if oracle and oracle.run]

    def outputs(self, side: Side, key: CellKey, session: Session) -> list[OutputRecord]:
        """The output of each request of a session against its side's own oracle."""
        run = session.run
        return [self._output(side, key, replace(run, trace=trace)) for trace in run.traces]

    def _output(self, side: Side, key: CellKey, run: RequestRun) -> OutputRecord:
        oracle = self._oracles[side.name, _work(key)]
        backend, config = side.backend, side.config
        request = engine_request(config, self._models[key.model], key.workload)
        return output_against(oracle, run, request, backend, is_alone=key.nodes == 1)

    @contextlib.contextmanager
    def _clusters(
        self, key: CellKey, order: Sequence[Side], name: str
    ) -> Iterator[dict[Name, Cluster]]:
        """Clusters of these sides with all workers up; they end with the body."""
        clusters = {side.name: self._cluster(side, key, name) for side in order}
        try:
            _side_by_side(
                {n: partial(cluster.ensure, key.nodes) for n, cluster in clusters.items()},
                partial(_stop, clusters),
            )
            yield clusters
        finally:
            _stop(clusters)

    def _cluster(self, side: Side, key: CellKey, name: str) -> Cluster:
        nthreads = configured(side.config, key.workload).nthreads
        prefix = f"{key.id}.{name}.{side.name}."  # both sides' hosts and logs may be the same
        hosts, engine = self._hosts[side.name], side.engine(key.workload)
        return Cluster(hosts, engine, self._logs, nthreads, prefix=prefix)

    def _measured(
        self, side: Side, cluster: Cluster, key: CellKey, requests: int = 1, root: str = "root"
    ) -> Session:
        """A session that has the machines for itself: what its `auto` picks, all others take."""
        session = self._session(side, cluster, key, requests=requests, root=root)
        self._picks.learn(self._program(side, key), session.run.trace, cluster.backend)
        return session

    def picks_of(self, side: Side, key: CellKey) -> Sequence[Picked]:
        """What `auto` picked for all measured sessions of a side but the first."""
        return self._picks.of(self._program(side, key))

    def _program(self, side: Side, key: CellKey) -> Hashable:
        """Who shares a pick: sessions of one engine that are asked the same, of both sides too."""
        is_shared = _same_reference(*self.sides, self._models[key.model], key)
        return key if is_shared else (side.name, key)

    def _session(
        self,
        side: Side,
        cluster: Cluster,
        key: CellKey,
        engine: Backend | None = None,
        *,
        requests: int = 1,
        root: str = "root",
    ) -> Session:
        request = engine_request(side.config, self._models[key.model], key.workload)
        request = replace(self._picks.asked(self._program(side, key), request), requests=requests)
        workers, since_s = cluster.workers(key.nodes), time.monotonic()
        run = run_request(cluster, request, key.nodes, cluster.name_of(root), _ignore, engine)
        for trace in run.traces:
            check_work(trace, key.workload, request, engine or cluster.backend)
        return Session(run, workers, time.monotonic() - since_s)

    def _oracle(self, side: Side, cluster: Cluster, alone: CellKey) -> Oracle:
        measured = side.engine(alone.workload)

        def run_by(engine: Backend) -> RequestRun:
            root = "root" if engine is measured else f"{engine.name}.root"
            return self._session(side, cluster, alone, engine, root=root).run

        request = engine_request(side.config, self._models[alone.model], alone.workload)
        return find_oracle(measured, request, run_by, must_run=True)


def _root(n: int) -> str:
    """The name of a session's n-th root: no log overwrites another."""
    return f"root{n + 1}" if n else "root"


def _joined(turns: Sequence[Session]) -> Session:
    """One session of several roots on the same workers."""
    first, *others = (session.run for session in turns)
    run = replace(first, again=tuple(other.trace for other in others))
    wall_s = sum(session.wall_s for session in turns)
    return Session(run, turns[0].workers, wall_s, tuple(others))


def _work(key: CellKey) -> str:
    """What cells with one oracle have in common."""
    return f"{key.model}{key.workload.suffix}"


def _same_reference(base: Side, new: Side, model: ModelUnderTest, key: CellKey) -> bool:
    """Whether one one-node run serves both: the same engine, asked the same."""
    engines = [side.engine(key.workload) for side in (base, new)]
    first, second = (engine.reference or engine for engine in engines)
    requests = [engine_request(side.config, model, key.workload) for side in (base, new)]
    same_engine = first is second or (
        type(first) is type(second) is EmbeddedBackend and not key.workload.options
    )
    return same_engine and requests[0] == requests[1]


def _side_by_side(
    work: Mapping[Name, Callable[[], T]], give_up: Callable[[], None] = lambda: None
) -> dict[Name, T]:
    """All at once; every one ends before the first failure is raised.

    Args:
        work: what to call, by side.
        give_up: makes all of it end soon, for who breaks it off from outside.
    """
    pool = ThreadPoolExecutor(len(work))
    try:
        futures = {name: pool.submit(call) for name, call in work.items()}
        wait(futures.values())
    except BaseException:  # Ctrl-C: nobody waits for requests to end
        give_up()
        raise
    finally:
        pool.shutdown()
    return {name: future.result() for name, future in futures.items()}


def _stop(clusters: Mapping[Name, Cluster]) -> None:
    _side_by_side({name: cluster.stop for name, cluster in clusters.items()})


def _ignore(event: Event) -> None:
    """Nobody watches a session of a pair."""
