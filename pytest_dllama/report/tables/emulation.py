"""Emulated links and boards as tables: what was set, and how well each cell's were kept."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.emulation import CellLinks, RankCompute, furthest_off
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.tables.columns import Code, Column, Entry, Table
from pytest_dllama.report.text.numbers import MISSING, number, percent, signed

KEYS = ("link_set", "link_median", "link_p99", "link_rate_set", "link_rate", "link_busy")
BOARD_KEYS = ("board_read", "board_set", "board_took", "board_off")


def emulated_links_table(view: RunView) -> Table | None:
    """A row a cell; of its links the extremes. None where no link was emulated."""
    rows = tuple(
        (Code(cell.id), *_figures(cell.links)) for cell in view.ordered() if cell.links is not None
    )
    columns = (Column("link_cell", numeric=False), *(Column(key) for key in KEYS))
    return Table(columns, rows) if rows else None


def emulated_boards_table(view: RunView) -> Table | None:
    """A row a cell; of its ranks the extremes. None where no board was emulated."""
    rows = tuple(
        (Code(cell.id), *_computing(cell.computing)) for cell in view.ordered() if cell.computing
    )
    columns = (Column("board_cell", numeric=False), *(Column(key) for key in BOARD_KEYS))
    return Table(columns, rows) if rows else None


def _computing(found: Sequence[RankCompute]) -> tuple[Entry, ...]:
    return (
        between([one.read_bytes / 1e6 for one in found], 2),
        between([one.set_ms for one in found], 3),
        between([one.ms for one in found], 3),
        off_set(found),
    )


def _figures(found: CellLinks) -> tuple[Entry, ...]:
    links = found.links
    rates = [link.mbps for link in links if link.mbps is not None]
    busy = found.busy_median_error_us
    return (
        between([link.set_us for link in links], 0),
        between([link.median_us for link in links], 0),
        number(max((link.p99_us for link in links), default=None), 0),
        between([link.set_mbps for link in links if link.set_mbps is not None], 1),
        between(rates, 1),
        MISSING if busy is None else f"{signed(busy, 0)} ({signed(found.busy_p99_error_us, 0)})",
    )


def between(values: list[float], digits: int) -> str:
    """The least and the most, once where they are the same.

    >>> between([100.2, 100.4, 120.0], 0), between([940.0], 1), between([], 1)
    ('100-120', '940.0', '-')
    """
    if not values:
        return MISSING
    ends = dict.fromkeys((number(min(values), digits), number(max(values), digits)))
    return "-".join(ends)


def off_set(found: Sequence[RankCompute]) -> str:
    """How far the rank furthest from what was set is off, in percent."""
    off = furthest_off(found)
    return percent(None if off is None else off * 100)
