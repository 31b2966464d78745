"""Figures of cells that have no column in their table: percentiles, share of the roofline."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord, Percentiles
from pytest_dllama.report.terminal.columns import aligned
from pytest_dllama.report.text.numbers import number

_RANKS = ("p50", "p90", "p95", "p99")


def percentile_lines(cells: Sequence[CellRecord]) -> list[str]:
    """P50 to P99 of each cell's requests, where there are requests enough for one of them."""
    rows = [
        (cell.id, name, str(found.n), *(_percentile(found, rank) for rank in _RANKS))
        for cell in cells
        for name, found in cell.percentiles.items()
        if name != "itl_ms" and found.p50 is not None
    ]
    if not rows:
        return []
    table = [("cell", "of requests", "n", *(rank.upper() for rank in _RANKS)), *rows]
    return aligned(table)


def _percentile(found: Percentiles, rank: str) -> str:
    value = getattr(found, rank)
    return "-" if value is None else f"{value:.4g}"


def roofline_lines(cells: Sequence[CellRecord]) -> list[str]:
    """A line for the cells that have a share."""
    known = [
        f"{cell.id} {number(part.value * 100, 0)}%"
        for cell in cells
        if (part := cell.metrics.get("roofline_share"))
    ]
    return [f"share of the memory roofline: {', '.join(known)}"] if known else []
