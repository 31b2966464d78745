"""Peak memory of root and workers against what the plan says of weights and KV cache."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord, RankRecord
from pytest_dllama.report.figures.charts import Bars, Chart, Series, finite
from pytest_dllama.report.figures.quantities import ROOT_MEMORY, WORKER_MEMORY, Quantity
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.text.numbers import MIB


def memory(view: RunView) -> Chart | None:
    """A pair of bars a node count; the line across is the plan's weights + KV cache."""
    panels = tuple(panel for model in view.models if (panel := _panel(view, model)))
    return Chart("memory", "nodes", "MiB a process", panels) if panels else None


def _panel(view: RunView, model: str) -> Bars | None:
    cells = [(n, cell) for n in view.node_counts if (cell := view.cell(model, n)) is not None]
    known = [(n, cell) for n, cell in cells if ROOT_MEMORY.of(cell) or WORKER_MEMORY.of(cell)]
    if not known:
        return None
    labels = tuple(str(nodes) for nodes, _ in known)
    roles: tuple[tuple[str, Quantity], ...] = (("root", ROOT_MEMORY), ("worker", WORKER_MEMORY))
    groups = tuple(Series(role, tuple(_mib(q, cell) for _, cell in known)) for role, q in roles)
    plans = tuple(Series(role, tuple(_plan(cell, role) for _, cell in known)) for role, _ in roles)
    return Bars(model, labels, groups, plans)


def _mib(quantity: Quantity, cell: CellRecord) -> float | None:
    found = quantity.of(cell)
    return None if found is None else finite(found.value / MIB)


def _plan(cell: CellRecord, role: str) -> float | None:
    """MiB of the largest rank of this role."""
    planned = [bytes_ for rank in cell.ranks if rank.role == role and (bytes_ := _held(rank))]
    return finite(max(planned) / MIB) if planned else None


def _held(rank: RankRecord) -> int | None:
    if rank.weight_bytes is None:
        return None
    return rank.weight_bytes + (rank.kv_cache_bytes or 0)
