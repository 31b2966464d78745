"""Hosts and workers of a session, made ready when the first cell needs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.backends.base import Backend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.hosts.base import Host, Hosts, Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import model_needs
from pytest_dllama.lab.opened_models import OpenedModels
from pytest_dllama.lab.progress import announce_compilation
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError


class Provisioning:
    """One cluster for all cells of a session, large enough for the largest.

    Args:
        hosts: the machines.
        keys: the session's cells.
        config: what the user asked for.
        logs: folder of the processes' logs.
        progress: where to tell how far it is.
    """

    def __init__(
        self,
        hosts: Hosts,
        keys: Sequence[CellKey],
        config: LabConfig,
        logs: Path,
        progress: Progress,
    ) -> None:
        self._hosts, self._config, self._logs, self._progress = hosts, config, logs, progress
        self._keys = tuple(keys)
        self._largest = max((key.nodes for key in keys), default=0)
        self._ready: Sequence[Host] = ()
        self.cluster: Cluster | None = None  # made for the first cell

    def check(self, nodes: int) -> None:
        """Before a synthetic model is written: can the hosts hold what will be asked of them?

        Args:
            nodes: of the cell at hand, whose hosts must be there.

        Raises:
            HostError: one of them is not, or cannot.
        """
        if self.cluster is None:
            needs = model_needs(self._config, self._keys)
            self._hosts.check(self._largest, nodes, needs, self._progress)

    def prepare(self, nodes: int, models: OpenedModels) -> None:
        """Make the hosts ready for all cells and send them the session's models.

        Args:
            nodes: of the cell at hand, whose hosts must be there.
            models: opened here, or written, as far as they are not yet.

        Raises:
            HostError: one of them is not ready.
        """
        names = dict.fromkeys(key.model for key in self._keys)
        files = [models.of(name).model_file for name in names]
        self._ready = self._hosts.prepare(self._largest, nodes, files, self._progress)

    def provide(self, nodes: int, backend: Backend, nthreads: int) -> Cluster:
        """Workers for the largest cell at first; later only what a cell needs is looked at.

        Args:
            nodes: of the cell at hand.
            backend: its engine.
            nthreads: threads of each of its nodes.

        Raises:
            ClusterError: a worker that does not come up.
        """
        if self.cluster is None:
            if self._hosts.kind == "local":
                announce_compilation(backend, self._progress)
            token = self._hosts.kept_token
            self.cluster = Cluster(self._ready, backend, self._logs, nthreads, token)
            self._start_all(self.cluster, nodes)
        self.cluster.use(backend, nthreads)
        self.cluster.ensure(nodes, self._progress.bar)
        return self.cluster

    def _start_all(self, cluster: Cluster, needed: int) -> None:
        if self._largest > 1:
            workers = counted(self._largest - 1, "worker")
            self._progress.stage(f"provisioning {workers} for {self._largest} nodes")
        try:
            cluster.ensure(self._largest, self._progress.bar)
        except ClusterError:
            if self._largest == needed:
                raise  # a smaller cell may do without the worker that did not come up

    def stop_cluster(self) -> None:
        """End every process of it; the next cell starts anew."""
        if self.cluster is not None:
            self.cluster.stop()
