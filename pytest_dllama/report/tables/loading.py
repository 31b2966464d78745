"""How the weights came to the workers: a row a cell."""

from __future__ import annotations

from collections import Counter

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.tables.columns import Column, Entry, Nodes, Table
from pytest_dllama.report.text.numbers import MIB, MISSING, decimals_for, number, plain

SOURCES = ("mapped", "cache", "sent")


def loading_table(view: RunView) -> Table | None:
    """Workers by where they had their weights of, bytes from their disks and over links, the time.

    None where no engine told.
    """
    rows = tuple(_row(cell) for cell in view.ordered() if cell.loading is not None)
    own = (*SOURCES, "from_disk", "over_links", "load")
    keys = ("nodes", *(f"weights_{key}" for key in own))
    columns = (Column("model", numeric=False), *(Column(key) for key in keys))
    return Table(columns, rows) if rows else None


def _row(cell: CellRecord) -> tuple[Entry, ...]:
    shares = cell.loading.shares if cell.loading else ()
    workers = Counter(share.source for share in shares)
    load = cell.metrics.get("load_s")
    seconds = load.value if load else None
    return (
        name_of(cell),
        Nodes(cell.nodes),
        *(str(workers[source]) if workers[source] else MISSING for source in SOURCES),
        number(sum(share.cached_bytes for share in shares) / MIB, 1),
        number(sum(share.sent_bytes for share in shares) / MIB, 1),
        MISSING if seconds is None else plain(seconds, decimals_for(seconds, 3)),
    )
