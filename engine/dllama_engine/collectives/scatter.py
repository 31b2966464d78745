"""Partial sums of each rank's columns brought to it and summed, round by round.

A rank's own partial sum is not cast on the way into its sum; those of others are, and the sum again
before it travels on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Collective, Move
from dllama_engine.collectives.rounds import Place, PlaceOf, part_table, round_table
from dllama_engine.formats.quants import FloatType, row_bytes
from dllama_engine.program.program import address
from dllama_engine.sharding.plan import Span


@dataclass(frozen=True, slots=True)
class ScatterStep:
    """One round on one rank; what it does not do is None.

    Attributes:
        pack: parts to cast before sending: of the rank's partial sum in the first round, of what
            the round before summed in later ones.
        routes: what is sent and received.
        incoming: parts that came, all of the same columns.
        first_column: of these columns.
        total: float32 (batch_size, n): they and the rank's own partial sum are added up here.
    """

    pack: Table | None
    routes: Table | None
    incoming: Table | None
    first_column: int
    total: Floats


def scatter_steps(
    rank: int,
    collective: Collective,
    chunks: Sequence[Span],
    buffer_type: FloatType,
    room: Mapping[str, npt.NDArray[Any]],
    batch_size: int,
) -> list[ScatterStep]:
    """Every round; the last one's total is the sum of this rank's columns.

    Args:
        rank: this rank.
        collective: which rounds.
        chunks: each rank's columns.
        buffer_type: what goes over the wire.
        room: `outgoing`, `incoming` and `summed` of `sharding.buffers.wire_buffers`.
        batch_size: rows of the sums.
    """
    n = len(chunks)
    sizes = [row_bytes(buffer_type, chunk.size) for chunk in chunks]
    steps = []
    for k, moves in enumerate(collective.scatter_rounds(n)):
        sends = [move for move in moves if move.src == rank and sizes[move.first]]
        comes = [move for move in moves if move.dst == rank and sizes[move.first]]
        out, into = _places(sends, sizes, room, "outgoing"), _places(comes, sizes, room, "incoming")
        routes = round_table(moves, rank, n, _of(out), _of(into))
        summed = chunks[comes[0].first] if comes else Span(0, 0)
        steps.append(
            ScatterStep(
                pack=_parts([chunks[m.first] for m in sends], out.values(), from_sum=k > 0),
                routes=routes,
                incoming=_parts([summed] * len(comes), into.values(), from_sum=True),
                first_column=summed.start,
                total=_rows(room, batch_size, summed.size),
            )
        )
    return steps


def _places(
    moves: Sequence[Move], sizes: Sequence[int], room: Mapping[str, npt.NDArray[Any]], name: str
) -> dict[Move, Place]:
    """Payloads one behind the other."""
    places, offset = {}, 0
    for move in moves:
        places[move] = address(room[name]), offset, sizes[move.first]
        offset += sizes[move.first]
    return places


def _of(places: Mapping[Move, Place]) -> PlaceOf:
    return lambda move: places.get(move, (0, 0, 0))


def _parts(spans: Sequence[Span], places: Iterable[Place], *, from_sum: bool) -> Table | None:
    """Parts of the partial sum's columns, or of a sum that has these columns only."""
    if not spans:
        return None
    columns = [Span(0, span.size) if from_sum else span for span in spans]
    at, offsets = zip(*((place[0], place[1]) for place in places), strict=True)
    return part_table(columns, at[0], offsets)


def _rows(room: Mapping[str, npt.NDArray[Any]], rows: int, n: int) -> Floats:
    if n == 0:
        return np.empty((rows, 0), np.float32)
    total: Floats = room["summed"][: rows * n].reshape(rows, n)
    return total
