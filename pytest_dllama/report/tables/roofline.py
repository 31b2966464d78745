"""The memory roofline, as a table."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.tables.columns import Column, Entry, Nodes, Table
from pytest_dllama.report.text.numbers import MISSING, plain, share, size


def roofline_table(view: RunView) -> Table | None:
    """Every cell that has one; None if none has."""
    cells = [cell for cell in view.ordered() if cell.roofline is not None]
    if not cells:
        return None
    keys = ("nodes", "read_all", "read_most", "limit_ms", "roofline_tpot", "roofline_share")
    columns = (Column("model", numeric=False), *(Column(key) for key in keys))
    return Table(columns, tuple(map(_row, cells)))


def _row(cell: CellRecord) -> tuple[Entry, ...]:
    roof, tpot = cell.roofline, cell.metrics.get("tpot_ms")
    assert roof is not None
    part = cell.metrics.get("roofline_share")
    return (
        name_of(cell),
        Nodes(cell.nodes),
        size(sum(roof.read_bytes)) if roof.read_bytes else MISSING,
        size(max(roof.read_bytes, default=None)),
        plain(roof.limit_ms, 2),
        plain(tpot.value if tpot else None, 2),
        share(part.value if part else None),
    )
