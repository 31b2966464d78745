"""What the machines of a session are: by it figures of different machines are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_dllama.hosts.base import Hosts
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.record.hosts import HostRecord

_TOLD = {"name", "rank", "board", "cpu_model", "machine", "cores", "kernel"}


class Identity:
    """The machines of a session's largest cell.

    Args:
        hosts: the machines.
        nodes: of the largest cell.
    """

    def __init__(self, hosts: Hosts, nodes: int) -> None:
        self.environment = probe_environment()
        self._hosts, self._nodes = hosts, nodes
        self._identified: Sequence[HostRecord | None] = ()
        self._before: str | None = None

    @property
    def needs_connections(self) -> bool:
        """Whether `before` has to reach other machines."""
        return self._hosts.kind == "ssh" and self._before is None

    def before(self) -> str:
        """The fingerprint as it is known before anything is measured; asked once."""
        if self._before is None:
            if self._hosts.kind == "ssh":
                self._identified = self._hosts.identify(self._nodes)
            self._before = self._of(self._identified)
        return self._before

    def after(self) -> str:
        """The fingerprint by what the machines told while they measured."""
        return self._of(self._hosts.records())

    @property
    def descriptions(self) -> list[dict[str, Any]]:
        """What the machines behind SSH are, for files beside the run file; empty without any."""
        return [host.model_dump(include=_TOLD) for host in self._identified if host]

    def _of(self, hosts: Sequence[HostRecord | None]) -> str:
        return fingerprint(self.environment, self._hosts.kind, hosts, self._hosts.network)
