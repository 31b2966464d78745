"""A meter's file that came after the run: its energy put into the run's record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_dllama.hosts.base import HostError, PowerFeed, PowerSite
from pytest_dllama.lab.power.meter_columns import MeterError
from pytest_dllama.lab.power.watch import EnergyWatch
from pytest_dllama.metrics.catalog import ENERGY, all_definitions, energy_metrics
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord


def with_meter(run: RunRecord, file: Path) -> RunRecord:
    """The run with its cells' energy by a meter's file.

    Idle power is not in it: nobody knows when nothing ran. Limits are not judged again.

    Raises:
        MeterError: the file cannot be used, or the run does not tell when its requests were.
    """
    samples = [sample for cell in run.cells for sample in cell.samples]
    if not any(sample.start_epoch_s is not None for sample in samples):
        raise MeterError(
            "the run file does not tell when its requests were: an older version wrote it, or it "
            "was imported; measure again, or with --power at once"
        )
    watch = EnergyWatch(reads_hosts=False, file=file)
    watch.start(list(_machines(run)), run.environment.hostname)
    cells = tuple(_of_cell(cell, watch) for cell in run.cells)
    told = {name: text for name, text in all_definitions().items() if name in ENERGY}
    definitions = run.definitions | told
    return run.model_copy(
        update={"cells": cells, "power": watch.records, "definitions": definitions}
    )


def _of_cell(cell: CellRecord, watch: EnergyWatch) -> CellRecord:
    if not cell.samples:
        return cell
    samples, energy = watch.of(cell.nodes, cell.samples)
    metrics = cell.metrics | energy_metrics(samples)
    changes = {"samples": tuple(samples), "energy": energy, "metrics": metrics}
    return cell.model_copy(update=changes)


def _machines(run: RunRecord) -> Iterator[PowerSite]:
    """Each machine of the run once, with its ranks; the controller where it ran rank 0."""
    ranks = {host.name: host.rank for host in run.hosts}
    if 0 not in ranks.values():
        n_here = 1 if run.hosts else max(run.request.node_counts, default=1)
        yield PowerSite(("this machine",), tuple(range(n_here)), _unread)
    done: set[str] = set()
    for host in run.hosts:
        if host.name not in done:
            names = host.shares_with or (host.name,)
            done |= set(names)
            on_it = tuple(ranks[name] for name in names if name in ranks)
            yield PowerSite(names, on_it, _unread)


def _unread() -> PowerFeed:
    raise HostError("the run is over")
