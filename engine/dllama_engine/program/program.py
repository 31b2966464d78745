"""Writes the rows of a table of operations (`tables.operations`) from arrays and matrices.

Every address is of an array that its owner (the transformer) keeps for as long as the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Bytes, Floats
from dllama_engine.kernels import entries
from dllama_engine.kernels.entries import Entry
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.operands import GreedyLoop, Mixture
from dllama_engine.tables import operations
from dllama_engine.tables.spans import COPY

_PIECES_A_CHUNK = 4  # of PIECE columns
_QUERIES = 16  # query heads of tokens that share a reading of a K/V head
_BLOCKS_A_THREAD = 2  # of a whole batch, at least


def address(array: npt.NDArray[Any]) -> int:
    """Where a contiguous array begins."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


def _pieces(n: int) -> int:
    return -(-n // operations.PIECE)


def _frames(
    kind: int,
    links: npt.NDArray[np.int64],
    mesh: npt.NDArray[np.int64],
    routes: npt.NDArray[np.int64],
) -> tuple[int, ...]:
    """The fields from `operations.FRAME_KIND` on."""
    return kind, address(links), address(mesh), address(routes), len(routes)


@dataclass(frozen=True, slots=True)
class Row:
    """One operation.

    Attributes:
        fields: int64 (WIDTH,), as `tables.operations` has it.
        reads: bytes of weights and cache (`tables.operations`).
    """

    fields: npt.NDArray[np.int64]
    reads: tuple[int, int, int] = (0, 0, 0)


class Program:
    """A growing list of operations.

    Args:
        epsilon: of the norms.
        batch_size: largest batch that will be run.
        n_threads: how many share the work.
        lane: which half of a batch the operations work on, where it is cut in two.
    """

    def __init__(self, epsilon: float, batch_size: int, n_threads: int = 1, lane: int = 0) -> None:
        self.rows: list[Row] = []
        self._lane = lane
        self._epsilon_bits = int(np.float32(epsilon).view(np.uint32))
        self._batch_size = batch_size
        self._n_threads = n_threads
        self._kind = 0

    def __len__(self) -> int:
        return len(self.rows)

    def begin(self, kind: int) -> None:
        """The operations that follow are work of this kind (`tables.spans`)."""
        self._kind = kind

    def table(self) -> npt.NDArray[np.int64]:
        """All operations, int64 (n, WIDTH)."""
        return np.stack([row.fields for row in self.rows])

    def reads(self) -> npt.NDArray[np.int64]:
        """Bytes of weights and cache that each operation reads (`tables.operations`)."""
        reads = [row.reads for row in self.rows]
        return np.array(reads, np.int64).reshape(-1, operations.FLOOR_WIDTH)

    def _add(
        self,
        function: Entry | int,
        *fields: int,
        rows: int = 0,
        a_row: int = 0,
        grain: int = 1,
        times: int = 1,
        large: tuple[int, int] = (0, 0),
        kind: int | None = None,
        rows_shift: int = 0,
        reads: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """One operation with `rows` items and `a_row` more for each row of the batch.

        Where rows_shift is not 0, for every 1 << rows_shift of its rows. Of one token the first
        large[0] chunks have large[1] items, all others `grain`.
        """
        kind = self._kind if kind is None else kind
        most = rows + a_row * -(-times * self._batch_size >> rows_shift)
        grain = max(grain, -(-most // operations.MAX_CHUNKS))
        row = np.zeros(operations.WIDTH, np.int64)
        at = function if isinstance(function, int) else function.address
        cut = rows, a_row, grain, *large, times
        row[: operations.FIRST] = at, *cut, kind, self._lane, rows_shift
        row[operations.FIRST : operations.FIRST + len(fields)] = fields
        self.rows.append(Row(row, reads))

    def _add_pieces(
        self,
        function: Entry,
        n: int,
        *fields: int,
        times: int = 1,
        grain: int = 0,
        kind: int | None = None,
    ) -> None:
        grain = grain or _PIECES_A_CHUNK
        self._add(function, *fields, a_row=_pieces(n), grain=grain, times=times, kind=kind)

    def norm(self, x: Floats, weight: Floats, out: Floats, into: Activations | None) -> None:
        """Out = the norm of x (batch_size, n), row by row; then cast."""
        fields = (address(x), address(weight), x.shape[1], self._epsilon_bits, address(out))
        if into is None:
            self._add(entries.NORM, *fields, a_row=1, reads=(weight.nbytes, 0, 0))
        else:
            after = into.fields()
            self._add(entries.NORM_LOAD, *fields, *after, a_row=1, reads=(weight.nbytes, 0, 0))

    def load(self, x: Floats, into: Activations) -> None:
        """Cast x (batch_size, n)."""
        self._add_pieces(entries.LOAD, x.shape[1], address(x), *into.fields())

    def matmul(self, weight: Linear, inputs: Activations, out: Floats) -> None:
        """Out (batch_size, rows) = x W^T."""
        fields = (weight.product(inputs), *weight.addresses(), weight.rows, address(out))
        self._add(
            entries.MULTIPLY, *fields, *inputs.fields(), rows=weight.rows,
            grain=weight.rows_a_chunk(), large=weight.large_chunks(self._n_threads),
            reads=(weight.stored_bytes, 0, 0),
        )  # fmt: skip

    def head_norms(
        self, qkv: Floats, weight: Floats, head_dim: int, first: int, n_heads: int
    ) -> None:
        """Qwen3's norms of q or k, in place."""
        fields = address(qkv), qkv.shape[1], address(weight), self._epsilon_bits
        reads = weight.nbytes, 0, 0
        self._add(entries.HEAD_NORMS, *fields, head_dim, first, n_heads, a_row=1, reads=reads)

    def attention(
        self,
        qkv: Floats,
        keys: npt.NDArray[Any],
        values: npt.NDArray[Any],
        n_heads: int,
        first_head: npt.NDArray[np.int64],
        tables: tuple[Floats, Floats],
        falcon: bool,
        out: Floats,
    ) -> None:
        """Rope, store and attend.

        Args:
            qkv: float32 (batch_size, width).
            keys: one layer's cache (kv_heads, positions, head_dim).
            values: likewise.
            n_heads: local query heads.
            first_head: int64 (kv_heads + 1,): which query heads read each K/V head.
            tables: rope's cosines and sines, each (positions, head_dim / 2).
            falcon: which pairs rotate.
            out: float32 (batch_size, n_heads * head_dim).
        """
        fields = (address(qkv), qkv.shape[1], address(keys), address(values), *keys.shape, n_heads)
        half = keys.dtype == np.uint16
        rope = entries.ROPE_STORE_F16 if half else entries.ROPE_STORE_F32
        attend = entries.ATTEND_F16 if half else entries.ATTEND_F32
        self._add(rope, *fields, *(address(part) for part in tables), int(falcon), a_row=1)
        position_bytes = 2 * keys.shape[0] * keys.shape[2] * keys.itemsize
        self._add(
            attend, *fields, address(first_head), address(out), a_row=keys.shape[0],
            rows_shift=self._block_shift(n_heads, keys.shape[0]), reads=(0, position_bytes, 0),
        )  # fmt: skip

    def _block_shift(self, n_heads: int, n_kv_heads: int) -> int:
        """Tokens whose attention reads K and V together are 1 << this."""
        of_queries = _QUERIES * n_kv_heads // n_heads
        of_threads = self._batch_size * n_kv_heads // (_BLOCKS_A_THREAD * self._n_threads)
        return max(0, min(of_queries, of_threads).bit_length() - 1)

    def activate(
        self, gate_up: Floats, out: Floats, silu: bool, into: Activations | None, times: int = 1
    ) -> None:
        """Out (batch_size * times, n) = act(gate) * up; then cast."""
        n = out.shape[1]
        fields = address(gate_up), address(out), int(silu)
        if into is None:
            self._add_pieces(entries.ACTIVATE, n, *fields, n, times=times, grain=1)
        else:
            after = into.fields()
            self._add_pieces(entries.ACTIVATE_LOAD, n, *fields, *after, times=times, grain=1)

    def add_cast(self, partial: Floats, x: Floats, is_q80: bool) -> None:
        """X += partial as it would come from the wire."""
        n = x.shape[1]
        self._add_pieces(entries.ADD_CAST, n, address(partial), address(x), n, int(is_q80))

    # -- between ranks ------------------------------------------------------------------------

    def pack(self, x: Floats, parts: npt.NDArray[np.int64], is_q80: bool, times: int = 1) -> None:
        """Cast x (batch_size * times, n) into parts (`tables.parts`) of its columns."""
        n = x.shape[1]
        fields = address(x), n, address(parts), len(parts), int(is_q80)
        self._add_pieces(entries.PACK, n, *fields, times=times, kind=COPY)

    def reduce(
        self, x: Floats, first: int, parts: npt.NDArray[np.int64], out: Floats, is_q80: bool
    ) -> None:
        """Out (batch_size, n) = the columns of x from `first` on + parts of n columns."""
        n = out.shape[1]
        fields = address(x), x.shape[1], first, address(out), n, address(parts), len(parts)
        self._add_pieces(entries.REDUCE, n, *fields, int(is_q80), kind=COPY)

    def exchange(
        self,
        kind: int,
        links: npt.NDArray[np.int64],
        mesh: npt.NDArray[np.int64],
        routes: npt.NDArray[np.int64],
    ) -> None:
        """Send and receive by the routes (`tables.links`)."""
        self._add(operations.EXCHANGE, *_frames(kind, links, mesh, routes))

    def next_step(
        self,
        kind: int,
        links: npt.NDArray[np.int64],
        mesh: npt.NDArray[np.int64],
        routes: npt.NDArray[np.int64],
        packet: Bytes,
        x: Floats,
        first: int,
        positions: int,
    ) -> None:
        """Receive the root's next packet, and go on at operation `first` if it is one more token.

        Args:
            kind: of the packet's frame.
            links: `tables.links`; so are mesh and routes, on which one token's packet comes.
            mesh: likewise.
            routes: likewise.
            packet: where it comes to (`tables.operations`).
            x: float32 (batch_size, dim), whose first row the token's embedding becomes.
            first: an operation.
            positions: of the context.
        """
        more = address(packet), address(x), x.shape[1], first, positions
        self._add(operations.NEXT_STEP, *_frames(kind, links, mesh, routes), *more)

    def next_token(
        self,
        links: npt.NDArray[np.int64],
        mesh: npt.NDArray[np.int64],
        routes: npt.NDArray[np.int64],
        packet: Bytes | None,
        x: Floats,
        first: int,
        positions: int,
        loop: GreedyLoop,
        own: Floats,
    ) -> None:
        """On the root, take the most probable token and go on with it at operation `first`.

        Args:
            links: `tables.links`; so are mesh and routes, on which nothing goes.
            mesh: likewise.
            routes: likewise.
            packet: where the workers' is made (`tables.operations`); None: there are none.
            x: float32 (batch_size, dim), whose first row the token's embedding becomes.
            first: an operation.
            positions: of the context.
            loop: what else it works on.
            own: the root's logits, float32 (batch_size, local vocab).
        """
        packet_at = 0 if packet is None else address(packet)
        own_at = address(own)
        whole_at = own_at if loop.logits is None else address(loop.logits)
        self._add(
            operations.NEXT_TOKEN, *_frames(0, links, mesh, routes),
            packet_at, address(x), x.shape[1], first, positions,
            whole_at, loop.vocab_size, own_at, own.shape[1], loop.file, loop.first_embedding,
            address(loop.finite), address(loop.steps), address(loop.counters),
        )  # fmt: skip

    def add_parts(self, parts: npt.NDArray[np.int64], x: Floats, is_q80: bool) -> None:
        """X += everyone's parts (`tables.parts`) in rank order."""
        n = x.shape[1]
        fields = address(x), n, address(parts), len(parts), int(is_q80)
        self._add_pieces(entries.ADD, n, *fields, kind=COPY)

    def place_parts(self, parts: npt.NDArray[np.int64], into: Activations, times: int = 1) -> None:
        """Fill activations from everyone's parts."""
        fields = address(parts), len(parts), *into.fields()
        self._add_pieces(entries.PLACE, into.n, *fields, times=times, kind=COPY)

    def pause(self) -> None:
        """A place where the leading thread may return to Python for a moment."""
        self._add(operations.PAUSE)

    # -- a mixture of experts -----------------------------------------------------------------

    def route(self, gate: Floats, mixture: Mixture) -> None:
        """Pick each token's experts; gate (batch_size, n_experts) is destroyed."""
        picked = address(mixture.experts), address(mixture.weights), address(mixture.route)
        self._add(entries.ROUTE, address(gate), mixture.n_experts, mixture.times, *picked, rows=1)

    def take(self, mixture: Mixture, inputs: Activations, taken: Activations) -> None:
        """Copy each token's inputs to the rows of its experts."""
        fields = address(mixture.route), mixture.n_experts, mixture.times
        self._add(
            entries.TAKE, *fields, *inputs.fields(), *taken.fields(), a_row=1, times=mixture.times
        )

    def experts(
        self,
        mixture: Mixture,
        matrices: list[Linear],
        inputs: Activations,
        addresses: npt.NDArray[np.int64],
        out: Floats,
    ) -> None:
        """Out (batch_size * times, rows) = each row of the inputs through its expert's matrix.

        Args:
            mixture: the router's choice.
            matrices: one for each expert, alike in all but numbers.
            inputs: by row.
            addresses: int64 (n_experts, 2), written: where the matrices are.
            out: float32.
        """
        first = matrices[0]
        addresses[:] = [matrix.addresses() for matrix in matrices]
        most = operations.MAX_CHUNKS // (mixture.times * self._batch_size)
        rows = first.rows if self._n_threads == 1 else first.rows_a_chunk()
        grain = max(rows, -(-first.rows // max(1, most)))
        fields = (
            address(mixture.route),
            mixture.n_experts,
            address(addresses),
            first.product(inputs),
        )
        self._add(
            entries.MULTIPLY_EXPERTS, *fields, first.rows,
            grain, address(out), *inputs.fields(),
            a_row=-(-first.rows // grain), times=mixture.times,
            reads=(0, 0, first.stored_bytes),
        )  # fmt: skip

    def combine(self, mixture: Mixture, results: Floats, out: Floats) -> None:
        """Out (batch_size, n) = each token's results (batch_size * times, n), weighted, summed."""
        n = out.shape[1]
        fields = address(mixture.route), mixture.n_experts, mixture.times
        more = address(mixture.weights), address(results), n, address(out)
        self._add_pieces(entries.COMBINE, n, *fields, *more)
