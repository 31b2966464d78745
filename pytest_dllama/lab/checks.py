"""Which cells there are, and what is checked of them before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.backends.base import Backend, ChecksModels, TellsMemory
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, ModelSpec
from pytest_dllama.hosts.base import ModelNeed
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.models.engine_facts import available_bytes
from pytest_dllama.models.fit import Holding, check_fit
from pytest_dllama.models.model_files import check_model, config_of
from pytest_dllama.models.sizes import RequestSize
from pytest_dllama.models.workloads import configured, workloads


def cell_keys(config: LabConfig) -> list[CellKey]:
    """Every cell of the command line: models, of each its node counts, of each its workloads."""
    found = list(workloads(config))
    return [
        CellKey(spec.name, nodes, workload)
        for spec in config.models
        for nodes in config.node_counts
        for workload in found
    ]


def check_cells(config: LabConfig, keys: Sequence[CellKey], backend: Backend) -> None:
    """Refuse cells that cannot be run; nothing is written or started.

    Raises:
        ConfigError: a model that is not there or cannot be split so, a request that does not go
            with its context, or more than this machine can hold.
    """
    for spec in config.models:
        of_model = [key for key in keys if key.model == spec.name]
        if isinstance(backend, ChecksModels):
            for nodes in dict.fromkeys(key.nodes for key in of_model):
                backend.check_model(config_of(spec), nodes)
        for workload in dict.fromkeys(key.workload for key in of_model):
            counts = [key.nodes for key in of_model if key.workload == workload]
            own = configured(config, workload)
            size = check_model(spec, counts, own, workload)
            if config.hosts_file is None and isinstance(backend, TellsMemory):
                _check_memory(spec, counts, own, size, backend)


def _check_memory(
    spec: ModelSpec, counts: Sequence[int], own: LabConfig, size: RequestSize, engine: TellsMemory
) -> None:
    compared = own.comparison is not None and not own.comparison.baseline.is_stored
    available = available_bytes() // (2 if compared else 1)
    both = "; with --baseline two engines share the memory, so each has half" if compared else ""
    for nodes in counts:
        holding = Holding(config_of(spec), nodes, own, size)
        try:
            check_fit(holding, engine.memory_bytes, available, may_f16=engine.has_f16_cache)
        except ConfigError as error:
            raise ConfigError(f"--models {spec.text}: {error}{both}") from None


def model_needs(config: LabConfig, keys: Sequence[CellKey]) -> tuple[ModelNeed, ...]:
    """Each model of these cells with the largest KV cache that one of them wants."""
    found = []
    for spec in config.models:
        needs = []
        for workload in dict.fromkeys(key.workload for key in keys if key.model == spec.name):
            own = configured(config, workload)
            size = check_model(spec, (), own, workload)
            needs.append(ModelNeed(config_of(spec), size.max_seq_len, own.kv_type))
        if needs:
            found.append(max(needs, key=lambda need: need.cache_weight))
    return tuple(found)
