"""Rounds of a collective as tables of routes (`tables.links`), for one rank and its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from dllama_engine.arrays import Table
from dllama_engine.collectives.base import Move, Round
from dllama_engine.sharding.plan import Span
from dllama_engine.tables.links import (
    NOTHING,
    RECV_AT,
    RECV_BYTES,
    RECV_OFFSET,
    ROUTE_WIDTH,
    SEND_AT,
    SEND_BYTES,
    SEND_OFFSET,
)
from dllama_engine.tables.parts import COLUMNS, FIRST_COLUMN, PART_AT, PART_OFFSET, PART_WIDTH

Place: TypeAlias = tuple[int, int, int]  # address; bytes an item before it; bytes an item
PlaceOf: TypeAlias = Callable[[Move], Place]

_SEND = [SEND_AT, SEND_OFFSET, SEND_BYTES]
_RECV = [RECV_AT, RECV_OFFSET, RECV_BYTES]


def round_table(
    moves: Round, rank: int, world_size: int, outgoing: PlaceOf, incoming: PlaceOf
) -> Table | None:
    """Routes (world_size, ROUTE_WIDTH) of what `rank` sends and receives; None if nothing.

    Args:
        moves: of all ranks.
        rank: this one.
        world_size: how many there are.
        outgoing: where the payload of a frame that it sends is.
        incoming: where that of one that it receives shall be.
    """
    routes = np.zeros((world_size, ROUTE_WIDTH), np.int64)
    routes[:, SEND_BYTES] = routes[:, RECV_BYTES] = NOTHING
    for move in moves:
        if move.src == rank:
            _enter(routes[move.dst], _SEND, outgoing(move))
        elif move.dst == rank:
            _enter(routes[move.src], _RECV, incoming(move))
    takes_part = (routes[:, [SEND_BYTES, RECV_BYTES]] != NOTHING).any()
    return routes if takes_part else None


def _enter(route: Table, fields: Sequence[int], place: Place) -> None:
    """An empty frame is none."""
    if place[2]:
        route[fields] = place


def part_table(columns: Sequence[Span], at: int, offsets: Sequence[int]) -> Table:
    """A table of parts (`tables.parts`) that hold such columns, (n, PART_WIDTH).

    Args:
        columns: of each part.
        at: where the first row of all begins.
        offsets: bytes a row in front of each part.
    """
    parts = np.zeros((len(columns), PART_WIDTH), np.int64)
    parts[:, PART_AT], parts[:, PART_OFFSET] = at, offsets
    parts[:, FIRST_COLUMN] = [span.start for span in columns]
    parts[:, COLUMNS] = [span.size for span in columns]
    return parts


def ring_offsets(sizes: Sequence[int], first: int) -> list[int]:
    """Where each block begins if they stand one behind the other from `first` on, round the ranks.

    >>> ring_offsets([10, 20, 30], 2)
    [30, 40, 0]
    """
    offsets, at = [0] * len(sizes), 0
    for i in range(len(sizes)):
        block = (first + i) % len(sizes)
        offsets[block], at = at, at + sizes[block]
    return offsets


def stretch(sizes: Sequence[int], offsets: Sequence[int], move: Move) -> tuple[int, int]:
    """Offset and bytes of a move's blocks, which stand side by side."""
    blocks = [(move.first + i) % len(sizes) for i in range(move.count)]
    begin = offsets[blocks[0]]
    assert [offsets[b] for b in blocks] == [
        begin + sum(sizes[b] for b in blocks[:i]) for i in range(move.count)
    ], f"{move}: not one stretch of memory"
    return begin, sum(sizes[block] for block in blocks)
