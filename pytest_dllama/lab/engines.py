"""The engine of a session: with the options of each workload that sweeps its own, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_dllama.backends.base import Backend, EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.hosts.base import Hosts
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.models.workloads import Options, configured, engine_options, workloads
from pytest_dllama.record.cell import Workload


@dataclass(frozen=True, slots=True)
class Engines:
    """What is measured, and the machines that it runs on."""

    backend: Backend
    swept: Mapping[Options, Backend] = field(default_factory=dict)  # by swept options of its own
    hosts: Hosts = field(default_factory=LocalHosts)

    def of(self, workload: Workload) -> Backend:
        """The engine with the options that this workload sweeps of its own."""
        return self.swept.get(engine_options(workload), self.backend)


def engines(config: LabConfig) -> tuple[Backend, Mapping[Options, Backend]]:
    """The engine, and the engine with each combination of its own options that is swept.

    Raises:
        ConfigError: no such engine, or an option that it does not have or cannot take.
    """
    made: dict[EngineOptions, Backend] = {}
    swept: dict[Options, Backend] = {}
    for workload in workloads(config):
        own, options = configured(config, workload), engine_options(workload)
        asked = EngineOptions(
            config.dllama_bin,
            config.dllama_args,
            own.sync_mode,
            kv_type=own.kv_type,
            collective=own.collective,
            overlap=own.overlap,
            swept=options,
            inject=config.inject,
            memory_bps=config.memory_bps,
            runs_here=config.hosts_file is None,
        )
        if asked not in made:  # options of ours are refused here too, where the engine lacks them
            made[asked] = make_backend(config.engine, asked)
        swept.setdefault(options, made[asked])
    return swept.pop((), None) or next(iter(swept.values())), swept
