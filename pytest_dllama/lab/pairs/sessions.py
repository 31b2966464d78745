"""Sessions of both sides: a pair in turns for measuring, or both at once where nothing is measured.

Every session has a fresh root and fresh workers. Workers of both sides start and end side by side:
that costs once what one side costs, and disturbs no measurement, since requests run in turns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pytest_dllama.backends.base import Backend
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.base import Host, Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import model_needs
from pytest_dllama.lab.pairs.side import Name, Side
from pytest_dllama.lab.requests.asked import check_work, engine_request
from pytest_dllama.lab.requests.cluster import Cluster, Worker
from pytest_dllama.lab.requests.oracle import Oracle, find_oracle, output_against
from pytest_dllama.lab.requests.runner import RequestRun, run_request
from pytest_dllama.models.under_test import ModelUnderTest
from pytest_dllama.models.workloads import configured
from pytest_dllama.record.cell import OutputRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """One session of one side."""

    run: RequestRun
    workers: tuple[Worker, ...]  # that served it; they have ended


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

    def pair(self, key: CellKey, order: Sequence[Side], name: str) -> dict[Name, Session]:
        """One measured request a side, in this order, one after the other.

        Raises:
            ClusterError, RequestFailed, HostError: a session that gave no figures.
        """
        with self._clusters(key, order, name) as clusters:
            return {side.name: self._session(side, clusters[side.name], key) for side in order}

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

    def prepare_oracles(self, key: CellKey) -> None:
        """The one-node runs of this cell's work: one a side, or one that both share."""
        missing = [s for s in self.sides if (s.name, _work(key)) not in self._oracles]
        if not missing:
            return
        model = self._models[key.model]
        shared = len(missing) > 1 and _same_reference(missing[0], missing[1], model, key)
        who = missing[-1:] if shared else missing
        alone = CellKey(key.model, 1, key.workload)
        with self._clusters(alone, who, "oracle") as clusters:
            found = _side_by_side(
                {s.name: partial(self._oracle, s, clusters[s.name], alone) for s in who},
                partial(_stop, clusters),
            )
        for side in missing:
            self._oracles[side.name, _work(key)] = found[who[-1].name if shared else side.name]

    def output(self, side: Side, key: CellKey, run: RequestRun) -> OutputRecord:
        """A side's output against its own oracle."""
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

    def _session(
        self, side: Side, cluster: Cluster, key: CellKey, engine: Backend | None = None
    ) -> Session:
        request = engine_request(side.config, self._models[key.model], key.workload)
        workers = cluster.workers(key.nodes)
        run = run_request(cluster, request, key.nodes, cluster.name_of("root"), _ignore, engine)
        check_work(run.trace, key.workload)
        return Session(run, workers)

    def _oracle(self, side: Side, cluster: Cluster, alone: CellKey) -> Oracle:
        return find_oracle(
            side.engine(alone.workload),
            lambda engine: self._session(side, cluster, alone, engine).run,
            must_run=True,
        )


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
