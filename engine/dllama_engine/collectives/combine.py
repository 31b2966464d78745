"""Writes exchanges of one rank into its program, by whichever collective: casts, rounds and sums.

With one rank the casts to the buffer type happen all the same, as in dllama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dllama_engine.arrays import Floats, Table
from dllama_engine.collectives.base import Collective, Exchanger, Move
from dllama_engine.collectives.rounds import (
    Place,
    part_table,
    ring_offsets,
    round_table,
    stretch,
)
from dllama_engine.collectives.scatter import ScatterStep, scatter_steps
from dllama_engine.formats.quants import FloatType, row_bytes
from dllama_engine.program.linear import Activations
from dllama_engine.program.program import Program, address
from dllama_engine.sharding.plan import Span, reduce_chunks
from dllama_engine.wire.frames import KINDS, SYNC_NODE_SLICES


@dataclass(frozen=True, slots=True)
class _Gather:
    """An all-gather on one rank: where its own part goes, what is sent, where everyone's is."""

    own: Table  # (1, PART_WIDTH), of the local vector's columns
    rounds: list[Table]  # each (world_size, ROUTE_WIDTH)
    parts: Table  # (world_size, PART_WIDTH), of the whole vector's


class Combiner:
    """All-reduces and all-gathers of one rank.

    Args:
        rank: this rank.
        world_size: number of ranks.
        links: its links, None when it is alone.
        buffer_type: what goes over the wire.
        collective: which rounds.
        room: memory for parts, by name (`sharding.buffers.wire_buffers`).
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        links: Exchanger | None,
        buffer_type: FloatType,
        collective: Collective,
        room: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.rank, self.world_size, self.buffer_type = rank, world_size, buffer_type
        self.collective, self._links = collective, links
        self._is_q80 = buffer_type is FloatType.Q80
        self._room = room
        self._gathers: dict[tuple[Any, ...], _Gather] = {}
        self._scatters: dict[tuple[Span, ...], list[ScatterStep]] = {}

    def all_reduce(self, program: Program, partial: Floats, x: Floats) -> None:
        """x (batch_size, dim) += the sum over ranks of their partials (batch_size, dim), cast."""
        dim = x.shape[1]
        if not self.collective.scatter_rounds(self.world_size):
            self.all_gather_add(program, partial, x, [Span(0, dim)] * self.world_size)
            return
        chunks = reduce_chunks(dim, self.world_size, self.collective.name)
        self.all_gather_add(program, self._own_sum(program, partial, chunks), x, chunks)

    def all_gather_add(
        self, program: Program, local: Floats, x: Floats, columns: Sequence[Span]
    ) -> None:
        """x += the ranks' vectors, cast; rank r's stands at columns[r], which may overlap."""
        parts = self._share(program, local, columns, 1)
        program.add_parts(parts, x, self._is_q80)

    def all_gather(
        self,
        program: Program,
        local: Floats,
        into: Activations,
        columns: Sequence[Span],
        times: int = 1,
    ) -> None:
        """Fill `into` (batch_size * times, n) with the ranks' slices, cast, at their columns."""
        program.place_parts(self._share(program, local, columns, times), into, times)

    # -- gathers ------------------------------------------------------------------------------

    def _share(self, program: Program, local: Floats, columns: Sequence[Span], times: int) -> Table:
        """Cast `local` and gather everyone's: the table of all parts."""
        tables = self._gather_tables(columns, times)
        if local.shape[1]:
            program.pack(local, tables.own, self._is_q80, times)
        for routes in tables.rounds:
            self._exchange(program, routes)
        return tables.parts

    def _exchange(self, program: Program, routes: Table) -> None:
        if self._links is not None:
            kind = KINDS[SYNC_NODE_SLICES]
            program.exchange(kind, self._links.table, self._links.mesh, routes)

    def _gather_tables(self, columns: Sequence[Span], times: int) -> _Gather:
        """Shared by layers."""
        key = (times, *columns)
        if key not in self._gathers:
            n, rank, at = self.world_size, self.rank, self._at("gathered")
            sizes = [row_bytes(self.buffer_type, span.size) for span in columns]
            offsets = ring_offsets(sizes, self.collective.first_block(rank, n))
            own = [Span(0, columns[rank].size)]

            def place(move: Move) -> Place:
                begin, n_bytes = stretch(sizes, offsets, move)
                return at, times * begin, times * n_bytes

            found = [
                round_table(moves, rank, n, place, place)
                for moves in self.collective.gather_rounds(n)
            ]
            self._gathers[key] = _Gather(
                own=part_table(own, at, [offsets[rank]]),
                rounds=[routes for routes in found if routes is not None],
                parts=part_table(columns, at, offsets),
            )
        return self._gathers[key]

    def _at(self, name: str) -> int:
        return address(self._room[name]) if name in self._room else 0

    # -- sums of some columns -----------------------------------------------------------------

    def _own_sum(self, program: Program, partial: Floats, chunks: Sequence[Span]) -> Floats:
        """The sum over ranks of this rank's columns, float32 (batch_size, n)."""
        source = partial
        for step in self._scatter_steps(len(partial), chunks):
            if step.pack is not None:
                program.pack(source, step.pack, self._is_q80)
            if step.routes is not None:
                self._exchange(program, step.routes)
            if step.incoming is not None:
                first = step.first_column
                program.reduce(partial, first, step.incoming, step.total, self._is_q80)
            source = step.total
        return source

    def _scatter_steps(self, batch_size: int, chunks: Sequence[Span]) -> list[ScatterStep]:
        """Shared by layers."""
        key = tuple(chunks)
        if key not in self._scatters:
            self._scatters[key] = scatter_steps(
                self.rank, self.collective, chunks, self.buffer_type, self._room, batch_size
            )
        return self._scatters[key]
