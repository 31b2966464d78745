"""Two halves of a batch through the same operations: one computes while the other is on the wire.

What the halves do between two exchanges does not depend on each other but for the cache, which the
first half fills before the second reads it. So each exchange of the one is posted, work of the
other follows, and only then it is waited for. One exchange at a time is under way, and all ranks
exchange in the same order, whichever of the rounds they take part in.
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

    Work of the first half, its exchange posted, work of the second, the first's exchange ended and
    the second's posted, more work of the first, and so on.

    Args:
        first: of the first half, in their order.
        second: the same of the second half.
    """
    rows: list[Row] = []
    under_way: Row | None = None
    for halves in zip(_stretches(first), _stretches(second), strict=True):
        for stretch in halves:
            rows += stretch.work
            if under_way is not None:
                rows.append(under_way)
            under_way = stretch.exchange
            if under_way is not None:
                rows.append(_posted(under_way))
    return rows


def _stretches(rows: Sequence[Row]) -> list[_Stretch]:
    found: list[_Stretch] = []
    work: list[Row] = []
    for row in rows:
        if row.routes is None:
            work.append(row)
        else:
            assert row.fields[FUNCTION] == EXCHANGE, "a list that is woven already"
            found.append(_Stretch(work, row))
            work = []
    return [*found, _Stretch(work, None)]


def _posted(exchange: Row) -> Row:
    fields = exchange.fields.copy()
    fields[FUNCTION] = POST
    return replace(exchange, fields=fields)
