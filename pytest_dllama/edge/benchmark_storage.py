"""Where pytest-benchmark keeps its rows: those of one cluster in one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.edge.capture import uncaptured
from pytest_dllama.edge.stash import COMPARE_KEY, CONFIG_KEY

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.lab.lab import Lab


def place_benchmarks(config: pytest.Config) -> None:
    """Saved benchmarks of one cluster go to one folder; other machines are first looked at."""
    from pytest_dllama.edge import benchmark_bridge

    if config.stash[CONFIG_KEY].hosts_file:
        config.stash[COMPARE_KEY] = benchmark_bridge.defer_compare(config)
    else:
        benchmark_bridge.use_storage(config, _local_fingerprint(config))


def _local_fingerprint(config: pytest.Config) -> str:
    from pytest_dllama.hosts.controller import fingerprint, probe_environment

    topology = config.stash[CONFIG_KEY].topology
    return fingerprint(probe_environment(), "local", network=topology.in_words if topology else "")


def move_benchmarks(config: pytest.Config, lab: Lab) -> None:
    """To the folder of the machines that were found, unless the user named one."""
    from pytest_dllama.edge import benchmark_bridge

    if benchmark_bridge.is_active(config) and benchmark_bridge.storage_is_default(config):
        with uncaptured(config):
            deferred = config.stash.get(COMPARE_KEY, None)
            benchmark_bridge.move_storage(config, lab.fingerprint(), deferred)
