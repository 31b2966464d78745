"""This machine as a cluster on emulated links: each rank a process, a network between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.emulation.topology import Topology
from pytest_dllama.hosts.base import Host, Progress
from pytest_dllama.hosts.local import LocalHost, LocalHosts


class EmulatedHost(LocalHost):
    """This machine, as one node of an emulated network."""

    def __init__(self, topology: Topology, environment: Path | None = None) -> None:
        super().__init__(environment=environment)
        self.topology = topology


class EmulatedHosts(LocalHosts):
    """Every rank on this machine, the links between them emulated.

    Args:
        topology: the network.
        environment: whose engine runs; None: the one of this interpreter.
    """

    def __init__(self, topology: Topology, environment: Path | None = None) -> None:
        super().__init__(environment)
        self.topology = topology
        self.network = topology.in_words

    def prepare(
        self, nodes: int, needed: int, models: Sequence[Path], progress: Progress
    ) -> Sequence[Host]:
        """One host for each rank."""
        return [EmulatedHost(self.topology, self._environment)] * nodes
