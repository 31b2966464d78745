"""From the options to a session that is ready to measure; all is checked before it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pytest_dllama.backends.embedded_options import check_injection
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.emulation.certified import too_crowded
from pytest_dllama.hosts.base import Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import check_cells
from pytest_dllama.lab.engines import Engines, engines
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.machines.choice import hosts_of, names_of
from pytest_dllama.lab.machines.programs import check_programs
from pytest_dllama.lab.power.watch import check_energy
from pytest_dllama.lab.requests.tracing import check_tracing
from pytest_dllama.verdict.limits.limit import ThresholdError
from pytest_dllama.verdict.limits.thresholds import Thresholds
from pytest_dllama.verdict.limits.thresholds_file import load_thresholds


def make_lab(
    config: LabConfig,
    keys: Sequence[CellKey],
    thresholds: Thresholds,
    progress: Progress,
    *,
    only_collects: bool = False,
) -> Lab:
    """The session that the options ask for.

    Args:
        config: the options.
        keys: the cells that it will read.
        thresholds: limits to judge by.
        progress: where to tell how far it is.
        only_collects: whether nothing will be measured, so that no baseline need be built.

    Raises:
        ConfigError: options that cannot be, or a baseline that cannot be built.
    """
    backend, swept = engines(config)
    check_cells(config, keys, backend)
    check_tracing(config, backend)
    nodes = max(key.nodes for key in keys)
    if config.inject:
        check_injection(
            config.inject,
            nodes,
            on_boards=config.memory_bps is not None,
            runs_here=config.hosts_file is None,
        )
    if config.energy or config.power_file is not None:
        check_energy(config, names_of(config, nodes))
    if only_collects:
        own = Engines(backend, swept, hosts_of(config, nodes))
        return Lab(config, keys, thresholds, own, progress)
    program = f"--dllama-bin {config.dllama_bin}"
    if config.comparison is None or config.comparison.baseline.is_stored:
        own = Engines(backend, swept, hosts_of(config, nodes))
        check_programs({program: own.hosts}, nodes, progress)
        if config.comparison is None:
            return Lab(config, keys, thresholds, own, progress)
        from pytest_dllama.lab.pairs.stored_lab import StoredLab  # scipy: only for who compares

        return StoredLab(config, keys, thresholds, own, progress)
    from pytest_dllama.lab.pairs.making import make_sides
    from pytest_dllama.lab.pairs.paired_lab import PairedLab

    baseline = config.comparison.baseline
    with progress.running():
        base, new = make_sides(baseline, config, nodes, progress.stage)
    check_programs({program: new.hosts, f"--baseline {baseline.text}": base.hosts}, nodes, progress)
    return PairedLab(config, keys, thresholds, progress, (base, new))


def warnings_of(config: LabConfig, keys: Sequence[CellKey]) -> tuple[str, ...]:
    """What may make cells INVALID that is known beforehand."""
    cores = len(os.sched_getaffinity(0))
    crowded = too_crowded(config.topology, max(key.nodes for key in keys), cores)
    return (crowded,) if crowded else ()


def thresholds_of(config: LabConfig, keys: Sequence[CellKey]) -> tuple[Thresholds, tuple[str, ...]]:
    """The limits of the session, and a sentence for each table that no cell has.

    Args:
        config: the options.
        keys: every cell that the options ask for, selected or not.

    Raises:
        ThresholdError: a file that cannot be used, or with `--strict-thresholds` such a table.
    """
    file = config.thresholds_file
    thresholds = load_thresholds(file) if file else Thresholds()
    if config.comparison is not None:
        thresholds = replace(thresholds, tolerated=config.comparison.tolerated)
    thresholds.check_patterns([spec.name for spec in config.models])
    unmatched = thresholds.unmatched(
        [(key.model, key.nodes) for key in keys],
        list(dict.fromkeys(key.workload for key in keys)),
    )
    if unmatched and config.strict_thresholds:
        raise ThresholdError("; ".join(unmatched) + " (--strict-thresholds)")
    return thresholds, unmatched
