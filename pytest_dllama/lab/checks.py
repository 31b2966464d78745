"""Which cells there are, what is checked of them before anything starts, and their engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_dllama.backends.base import Backend, ChecksModels, EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.models.under_test import check_model, config_of
from pytest_dllama.models.workloads import Options, configured, engine_options, workloads
from pytest_dllama.record.cell import Workload


def cell_keys(config: LabConfig) -> list[CellKey]:
    """Every cell of the command line: models, of each its node counts, of each its workloads."""
    found = list(workloads(config))
    return [
        CellKey(spec.name, nodes, workload)
        for spec in config.models
        for nodes in config.node_counts
        for workload in found
    ]


def engines(config: LabConfig) -> tuple[Backend, Mapping[Options, Backend]]:
    """The engine, and the engine with each combination of its own options that is swept.

    Raises:
        ConfigError: no such engine, or an option that it does not have or cannot take.
    """
    swept: dict[Options, Backend] = {}
    plain: Backend | None = None
    for workload in workloads(config):
        own, options = configured(config, workload), engine_options(workload)
        checked = EngineOptions(
            config.dllama_bin,
            config.dllama_args,
            own.sync_mode,
            kv_type=own.kv_type,
            swept=options,
            inject=config.inject,
            runs_here=config.hosts_file is None,
        )
        if options and options not in swept:
            swept[options] = make_backend(config.engine, checked)
        elif not options and plain is None:
            plain = make_backend(config.engine, checked)
    return plain or next(iter(swept.values())), swept


def check_cells(config: LabConfig, keys: Sequence[CellKey], backend: Backend) -> None:
    """Refuse cells that cannot be run, each model with each workload once.

    Raises:
        ConfigError: a model that is not there or cannot be split so, or a request that does not
            go with its context.
    """
    for spec in config.models:
        of_model = [key for key in keys if key.model == spec.name]
        by_workload: dict[Workload, list[int]] = {}
        for key in of_model:
            by_workload.setdefault(key.workload, []).append(key.nodes)
        for workload, counts in by_workload.items():
            check_model(spec, counts, configured(config, workload), workload)
        if isinstance(backend, ChecksModels):
            for nodes in dict.fromkeys(key.nodes for key in of_model):
                backend.check_model(config_of(spec), nodes)
