"""Overlap of computation and communication: one half of a batch computes, the other is sent.

What the halves do between two exchanges does not depend on each other but for the cache, which the
first half fills before the second reads it. All ranks send and receive in the same order, whichever
of the rounds they take part in: none waits for what waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dllama_engine.program.program import Row
from dllama_engine.tables.operations import EXCHANGE, FUNCTION, POST


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Operations up to an exchange; the last one has none."""

    work: list[Row]
    exchange: Row | None


def woven(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    """The operations of both halves of a batch in one list.

    Work of the first half, its exchange posted; work of the second, its exchange posted; then the
    first's is waited for, more work of the first, and so on. So what a half computes goes out at
    once, and two exchanges are under way at most.

    Args:
        first: of the first half, in their order.
        second: the same of the second half.
    """
    rows: list[Row] = []
    under_way: Row | None = None
    for halves in zip(_stretches(first), _stretches(second), strict=True):
        for stretch in halves:
            rows += stretch.work
            if stretch.exchange is not None:
                rows.append(_posted(stretch.exchange))
            if under_way is not None:
                rows.append(under_way)
            under_way = stretch.exchange
    return rows


def _stretches(rows: Sequence[Row]) -> list[_Stretch]:
    found: list[_Stretch] = []
    work: list[Row] = []
    for row in rows:
        assert row.fields[FUNCTION] != POST, "a list that is woven already"
        if row.fields[FUNCTION] == EXCHANGE:
            found.append(_Stretch(work, row))
            work = []
        else:
            work.append(row)
    return [*found, _Stretch(work, None)]


def _posted(exchange: Row) -> Row:
    fields = exchange.fields.copy()
    fields[FUNCTION] = POST
    return replace(exchange, fields=fields)
