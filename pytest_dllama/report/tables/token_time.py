"""A token's time as tables: in short by cell, and by every part."""

from __future__ import annotations

from pytest_dllama.report.figures.token_time import token_time
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.rules.limits import sync_ms
from pytest_dllama.report.tables.columns import Column, Entry, Nodes, Table, Word
from pytest_dllama.report.text.numbers import plain, share


def token_time_table(view: RunView) -> Table | None:
    """Where a token's time goes: what is computed, what is exchanged, and the largest part."""
    rows: list[tuple[Entry, ...]] = []
    for cell in view.ordered():
        time = token_time(cell)
        if time is None:
            continue
        part, ms = time.largest
        sync = sync_ms(time)
        rows.append(
            (
                name_of(cell),
                Nodes(cell.nodes),
                plain(time.whole_ms, 2),
                plain(time.whole_ms - sync, 2),
                plain(sync, 2),
                share(sync / time.whole_ms),
                Word("parts", part),
                share(ms / time.whole_ms),
            )
        )
    keys = ("nodes", "token_ms", "computing_ms", "exchange_ms", "exchange_share")
    columns = (
        Column("model", numeric=False),
        *(Column(key) for key in keys),
        Column("largest_part", numeric=False),
        Column("its_share"),
    )
    return Table(columns, tuple(rows)) if rows else None


def parts_table(view: RunView) -> Table | None:
    """Every part of a token of every cell, in ms."""
    rows: list[tuple[Entry, ...]] = []
    for cell in view.ordered():
        time = token_time(cell)
        if time is not None:
            rows += [
                (cell.id, Word("parts", part), plain(ms, 3), share(ms / time.whole_ms))
                for part, ms in time.parts
            ]
    keys = ("cell", "part", "part_ms", "its_share")
    columns = tuple(Column(key, numeric=key in ("part_ms", "its_share")) for key in keys)
    return Table(columns, tuple(rows)) if len(rows) > 2 * len(view.cells) else None
