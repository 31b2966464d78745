"""How ranks combine vectors: a full mesh, every rank to every other.

All ranks add the parts in rank order, so x stays bit-identical everywhere. With one rank the casts
to the buffer type happen all the same, as in dllama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dllama_engine.arrays import Bytes, Floats, Table
from dllama_engine.collectives.base import Exchanger
from dllama_engine.formats.quants import FloatType, row_bytes
from dllama_engine.program.linear import Activations
from dllama_engine.program.program import Program, address
from dllama_engine.sharding.plan import Span
from dllama_engine.tables.links import (
    NOTHING,
    RECV_AT,
    RECV_BYTES,
    ROUTE_WIDTH,
    SEND_AT,
    SEND_BYTES,
)
from dllama_engine.tables.parts import COLUMNS, FIRST_COLUMN, PART_AT, PART_WIDTH
from dllama_engine.wire.frames import KINDS, SYNC_NODE_SLICES


class Mesh:
    """Writes all-reduces and all-gathers of one rank into its program, and holds their buffers.

    Args:
        rank: this rank.
        links: its links, None when it is alone.
        world_size: number of ranks.
        buffer_type: what goes over the wire.
        batch_size: largest batch.
        buffers: room for the ranks' parts, by rank and bytes; what is missing is made.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        links: Exchanger | None,
        buffer_type: FloatType,
        batch_size: int,
        buffers: Mapping[tuple[int, int], Bytes] | None = None,
    ) -> None:
        self.rank, self.world_size, self.buffer_type = rank, world_size, buffer_type
        self._is_q80 = buffer_type is FloatType.Q80
        self._links, self._batch_size = links, batch_size
        self._routes_at: dict[int, Table] = {}  # by operation
        self._buffers: dict[tuple[int, int], Bytes] = dict(buffers or {})
        self._tables: dict[tuple[Any, ...], tuple[Table, Table]] = {}

    def all_reduce(self, program: Program, partial: Floats, x: Floats) -> None:
        """x (batch_size, dim) += the sum over ranks of their partials (batch_size, dim), cast."""
        self.all_gather_add(program, partial, x, [Span(0, x.shape[1])] * self.world_size)

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

    def settle(self, op: int, status: int) -> None:
        """Operation `op` returned to Python: see to it if it is an exchange that is under way.

        Raises:
            WireError: of the links.
        """
        if self._links is not None and op in self._routes_at:
            self._links.settle(status, self._routes_at[op])

    def _share(self, program: Program, local: Floats, columns: Sequence[Span], times: int) -> Table:
        """Cast `local`, send it to all and receive theirs: the table of everyone's parts."""
        routes, parts = self._tables_for(columns, times)
        if local.shape[1]:
            mine = self._buffer(self.rank, local.shape[1], times)
            program.pack(local, mine, self._is_q80, times)
        if self._links is not None:
            self._routes_at[len(program)] = routes
            kind = KINDS[SYNC_NODE_SLICES]
            program.exchange(kind, self._links.table, self._links.mesh, routes)
        return parts

    def _tables_for(self, columns: Sequence[Span], times: int) -> tuple[Table, Table]:
        """Routes (world_size, ROUTE_WIDTH) and parts (world_size, PART_WIDTH), shared by layers."""
        key = (times, *columns)
        if key not in self._tables:
            routes = np.zeros((self.world_size, ROUTE_WIDTH), np.int64)
            parts = np.zeros((self.world_size, PART_WIDTH), np.int64)
            own_bytes = times * row_bytes(self.buffer_type, columns[self.rank].size)
            own_at = address(self._buffer(self.rank, columns[self.rank].size, times))
            for rank, span in enumerate(columns):
                at = address(self._buffer(rank, span.size, times))
                n_bytes = times * row_bytes(self.buffer_type, span.size)
                parts[rank, [PART_AT, FIRST_COLUMN, COLUMNS]] = at, span.start, span.size
                routes[rank, [SEND_AT, SEND_BYTES]] = own_at, own_bytes or NOTHING
                routes[rank, [RECV_AT, RECV_BYTES]] = at, n_bytes or NOTHING
            self._tables[key] = routes, parts
        return self._tables[key]

    def _buffer(self, rank: int, n: int, times: int) -> Bytes:
        """One rank's vectors in the buffer type, uint8 (batch_size * times, bytes)."""
        shape = (self._batch_size * times, row_bytes(self.buffer_type, n))
        key = (rank, shape[0] * shape[1])
        if key not in self._buffers:
            self._buffers[key] = np.zeros(key[1], np.uint8)
        return self._buffers[key].reshape(shape)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
