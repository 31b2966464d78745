"""The memory roofline in the report: what a token must read, and how long that alone takes."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.hosts import MemoryRecord
from pytest_dllama.report_cells import Cell, Column, Nodes, Table
from pytest_dllama.report_format import MISSING, number, plain, share, size
from pytest_dllama.report_sentences import (
    MemoryMeasured,
    RooflineCached,
    RooflineUnmeasured,
    Sentence,
)
from pytest_dllama.report_view import RunView

GIGA = 1e9


def roofline_table(view: RunView) -> Table | None:
    """Every cell that has one; None if none has."""
    cells = [cell for cell in view.ordered() if cell.roofline is not None]
    if not cells:
        return None
    keys = ("nodes", "read_all", "read_most", "limit_ms", "roofline_tpot", "roofline_share")
    columns = (Column("model", numeric=False), *(Column(key) for key in keys))
    return Table(columns, tuple(map(_row, cells)))


def _row(cell: CellRecord) -> tuple[Cell, ...]:
    roof, tpot = cell.roofline, cell.metrics.get("tpot_ms")
    assert roof is not None
    part = cell.metrics.get("roofline_share")
    return (
        cell.model,
        Nodes(cell.nodes),
        size(sum(roof.read_bytes)) if roof.read_bytes else MISSING,
        size(max(roof.read_bytes, default=None)),
        plain(roof.limit_ms, 2),
        plain(tpot.value if tpot else None, 2),
        share(part.value if part else None),
    )


def about_roofline(view: RunView) -> list[Sentence]:
    """What was measured of each machine, and why some cells have no limit."""
    said: list[Sentence] = [*map(_measured, filter(_is_known, view.run.memory))]
    cached: dict[str, list[int]] = {}
    for cell in view.ordered():
        if cell.roofline and cell.roofline.why_not == "cached":
            cached.setdefault(cell.model, []).append(cell.nodes)
        elif cell.roofline and cell.roofline.why_not == "unmeasured":
            said.append(RooflineUnmeasured(cell.model, cell.nodes, cell.roofline.detail or ""))
    said += [RooflineCached(model, tuple(counts)) for model, counts in cached.items()]
    return said


def _is_known(memory: MemoryRecord) -> bool:
    return bool(memory.bytes_per_s)


def _measured(memory: MemoryRecord) -> MemoryMeasured:
    rates = tuple((n, rate / GIGA) for n, rate in sorted(memory.bytes_per_s.items()))
    return MemoryMeasured(memory.hosts, rates, memory.cache_bytes, memory.is_disturbed)


def summary_lines(cells: Sequence[CellRecord]) -> list[str]:
    """For a terminal: a line for the cells that have a share."""
    known = [
        f"{cell.model} on {cell.nodes} {number(part.value * 100, 0)}%"
        for cell in cells
        if (part := cell.metrics.get("roofline_share"))
    ]
    return [f"share of the memory roofline: {', '.join(known)}"] if known else []
