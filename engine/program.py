"""Writes the rows of a table of operations (`kernels.ops`) from arrays, matrices and activations.

Every address is of an array that its owner (the transformer) keeps for as long as the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.kernels import ops
from engine.linear import Activations, Linear

Floats = npt.NDArray[np.float32]
_PIECES_A_CHUNK = 4  # of PIECE columns


def address(array: npt.NDArray[Any]) -> int:
    """Where a contiguous array begins."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


def _pieces(n: int) -> int:
    return -(-n // ops.PIECE)


class Program:
    """A growing list of operations."""

    def __init__(self, epsilon: float) -> None:
        self._rows: list[npt.NDArray[np.int64]] = []
        self._epsilon_bits = int(np.float32(epsilon).view(np.uint32))

    def __len__(self) -> int:
        return len(self._rows)

    def table(self) -> npt.NDArray[np.int64]:
        """All operations, int64 (n, WIDTH)."""
        return np.stack(self._rows)

    def _add(self, code: int, items: int, items_a_token: int, grain: int, *fields: int) -> None:
        row = np.zeros(ops.WIDTH, np.int64)
        row[: ops.FIRST] = code, items, items_a_token, grain
        row[ops.FIRST : ops.FIRST + len(fields)] = fields
        self._rows.append(row)

    def norm(self, x: Floats, weight: Floats, out: Floats, into: Activations | None) -> None:
        """Out = the norm of x (n_batches, n), row by row; then cast."""
        fields = (address(x), address(weight), x.shape[1], self._epsilon_bits, address(out))
        if into is None:
            self._add(ops.NORM, 0, 1, 1, *fields)
        else:
            self._add(ops.NORM_LOAD, 0, 1, 1, *fields, *into.fields())

    def load(self, x: Floats, into: Activations) -> None:
        """Cast x (n_batches, n)."""
        self._add(ops.LOAD, 0, _pieces(x.shape[1]), _PIECES_A_CHUNK, address(x), *into.fields())

    def matmul(self, weight: Linear, inputs: Activations, out: Floats) -> None:
        """Out (n_batches, rows) = x W^T."""
        self._rows.append(weight.operation(inputs, out))

    def head_norms(
        self, qkv: Floats, weight: Floats, head_dim: int, first: int, n_heads: int
    ) -> None:
        """Qwen3's norms of q or k, in place."""
        fields = address(qkv), qkv.shape[1], address(weight), self._epsilon_bits
        self._add(ops.HEAD_NORMS, 0, 1, 1, *fields, head_dim, first, n_heads)

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
            qkv: float32 (n_batches, width).
            keys: one layer's cache (kv_heads, positions, head_dim).
            values: likewise.
            n_heads: local query heads.
            first_head: int64 (kv_heads + 1,): which query heads read each K/V head.
            tables: rope's cosines and sines, each (positions, head_dim / 2).
            falcon: which pairs rotate.
            out: float32 (n_batches, n_heads * head_dim).
        """
        fields = (address(qkv), qkv.shape[1], address(keys), address(values), *keys.shape, n_heads)
        half = keys.dtype == np.uint16
        rope, attend = (
            (ops.ROPE_STORE_F16, ops.ATTEND_F16) if half else (ops.ROPE_STORE_F32, ops.ATTEND_F32)
        )
        self._add(rope, 0, 1, 1, *fields, *(address(table) for table in tables), int(falcon))
        self._add(attend, 0, keys.shape[0], 1, *fields, address(first_head), address(out))

    def activate(self, gate_up: Floats, out: Floats, silu: bool, into: Activations | None) -> None:
        """Out (n_batches, n) = act(gate) * up; then cast."""
        n = out.shape[1]
        fields = address(gate_up), address(out), int(silu)
        if into is None:
            self._add(ops.ACTIVATE, 0, _pieces(n), 1, *fields, n)
        else:
            self._add(ops.ACTIVATE_LOAD, 0, _pieces(n), 1, *fields, *into.fields())

    def add_cast(self, partial: Floats, x: Floats, is_q80: bool) -> None:
        """X += partial as it would come from the wire."""
        n = x.shape[1]
        fields = address(partial), address(x), n, int(is_q80)
        self._add(ops.ADD_CAST, 0, _pieces(n), _PIECES_A_CHUNK, *fields)
