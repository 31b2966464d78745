"""One of the two that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_dllama.backends.base import Backend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.hosts.base import Hosts
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.models.workloads import Options, engine_options
from pytest_dllama.record.cell import Workload

Name = Literal["base", "new"]
NAMES: tuple[Name, Name] = ("base", "new")


@dataclass(frozen=True, slots=True)
class Side:
    """An engine, its options, and where it runs.

    Two sides run next to each other: on hosts of a file each has a `Hosts` of its own, with its own
    environment, ports and folders there; on this machine they may share one.
    """

    name: Name
    label: str  # for people: a revision, a binary, an option
    backend: Backend
    config: LabConfig
    hosts: Hosts = field(default_factory=LocalHosts)
    swept: Mapping[Options, Backend] = field(default_factory=dict)  # by swept options of its own

    def engine(self, workload: Workload) -> Backend:
        """The engine with the options that this workload sweeps of its own."""
        return self.swept.get(engine_options(workload), self.backend)
