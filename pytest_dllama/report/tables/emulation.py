"""Emulated links as a table: what was set, and how well each cell's were kept."""

from __future__ import annotations

from pytest_dllama.record.emulation import CellLinks
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.tables.columns import Code, Column, Entry, Table
from pytest_dllama.report.text.numbers import MISSING, plain

KEYS = ("link_set", "link_median", "link_p99", "link_rate_set", "link_rate", "link_busy")


def emulated_links_table(view: RunView) -> Table | None:
    """A row a cell; of its links the extremes. None where no link was emulated."""
    rows = tuple(
        (Code(cell.id), *_figures(cell.links)) for cell in view.ordered() if cell.links is not None
    )
    columns = (Column("link_cell", numeric=False), *(Column(key) for key in KEYS))
    return Table(columns, rows) if rows else None


def _figures(found: CellLinks) -> tuple[Entry, ...]:
    links = found.links
    rates = [link.mbps for link in links if link.mbps is not None]
    busy = found.busy_median_error_us
    return (
        between([link.set_us for link in links], 0),
        between([link.median_us for link in links], 0),
        plain(max((link.p99_us for link in links), default=None), 0),
        between([link.set_mbps for link in links if link.set_mbps is not None], 1),
        between(rates, 1),
        MISSING if busy is None else f"{busy:+.0f} ({found.busy_p99_error_us or 0:+.0f})",
    )


def between(values: list[float], digits: int) -> str:
    """The least and the most, once where they are the same.

    >>> between([100.2, 100.4, 120.0], 0), between([940.0], 1), between([], 1)
    ('100-120', '940.0', '-')
    """
    if not values:
        return MISSING
    ends = dict.fromkeys((plain(min(values), digits), plain(max(values), digits)))
    return "-".join(ends)
