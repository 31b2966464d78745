"""The operations of a layer around its products; `tables.operations` says what their rows hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.layers import activation, attention, rope
from dllama_engine.kernels.layers.norm import norm_row, rms_norm_heads
from dllama_engine.kernels.llvm import casts
from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.bits import bits_to_f32
from dllama_engine.kernels.ops.compiled import operation
from dllama_engine.kernels.ops.table import cast, f32, fields, pieces
from dllama_engine.tables.operations import FIRST, PIECE, ROWS_SHIFT


@njit(inline="always")
def _norm(op: Any, tokens: int, row: int, first: int, last: int, casts_too: bool) -> None:
    n = op[FIRST + 2]
    x, weight = f32(op[FIRST], row + tokens, n), f32(op[FIRST + 1], 1, n)[0]
    out = f32(op[FIRST + 4], tokens, n)
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    for token in range(first, last):
        norm_row(x[row + token], weight, epsilon, out[token])
        if casts_too:
            cast(op, FIRST + 5, tokens, out[token], token, 0, n)


@operation
def norm(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x, weight, n, epsilon's bits, out (n_batches, n). Items are rows."""
    _norm(fields(op_at), rows, row, first, last, False)


@operation
def norm_load(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """As `norm`; then activations."""
    _norm(fields(op_at), rows, row, first, last, True)


@operation
def load(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x; then activations. Items are pieces of rows."""
    op, tokens = fields(op_at), rows
    n = op[FIRST + 1]
    x = f32(op[FIRST], tokens, n)
    per_row = pieces(n)
    for item in range(first, last):
        token, piece = item // per_row, item % per_row
        start = piece * PIECE
        cast(op, FIRST + 1, tokens, x[token], token, start, min(n, start + PIECE))


@njit(inline="always")
def _activate(op: Any, tokens: int, first: int, last: int, casts_too: bool) -> None:
    n = op[FIRST + 3]
    gate_up, out = f32(op[FIRST], tokens, 2 * n), f32(op[FIRST + 1], tokens, n)
    per_row = pieces(n)
    for item in range(first, last):
        token, piece = item // per_row, item % per_row
        start = piece * PIECE
        stop = min(n, start + PIECE)
        gate, up = gate_up[token, start:stop], gate_up[token, n + start : n + stop]
        if op[FIRST + 2]:
            activation.silu_row(gate, up, out[token, start:stop])
        else:
            activation.gelu_row(gate, up, out[token, start:stop])
        if casts_too:
            cast(op, FIRST + 3, tokens, out[token], token, start, stop)


@operation
def activate(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """gate_up, out, is_silu, n. Items are pieces of rows."""
    _activate(fields(op_at), rows, first, last, False)


@operation
def activate_load(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """gate_up, out, is_silu; then activations, whose n counts for both. Pieces of rows."""
    _activate(fields(op_at), rows, first, last, True)


@operation
def add_cast(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """partial, x, n, is_q80: x += the partial as it would come from the wire. Pieces of rows."""
    op, tokens = fields(op_at), rows
    n = op[FIRST + 2]
    partial, x = f32(op[FIRST], tokens, n), f32(op[FIRST + 1], tokens, n)
    per_row = pieces(n)
    for item in range(first, last):
        token, piece = item // per_row, item % per_row
        start = piece * PIECE
        stop = min(n, start + PIECE)
        if op[FIRST + 3]:
            casts.add_through_q80(partial[token], x[token], start, stop)
        else:
            for i in range(start, stop):
                x[token, i] += partial[token, i]


@operation
def head_norms(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """qkv, width, weight, epsilon's bits, head_dim, first column, n_heads. Items are tokens."""
    op, tokens = fields(op_at), rows
    weight = f32(op[FIRST + 2], 1, op[FIRST + 4])[0]
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    part = f32(op[FIRST], tokens, op[FIRST + 1])[first:last]
    rms_norm_heads(part, weight, epsilon, op[FIRST + 5], op[FIRST + 6])


@njit(inline="always")
def _cache(op: Any, dtype: Any) -> Any:
    """Fields from FIRST + 2: keys, values, kv_heads, positions, head_dim."""
    shape = (op[FIRST + 4], op[FIRST + 5], op[FIRST + 6])
    keys = carray(pointer(op[FIRST + 2]), shape, dtype)
    return keys, carray(pointer(op[FIRST + 3]), shape, dtype)


@njit
def _rope(op: Any, tokens: int, pos: int, first: int, last: int) -> Any:
    """qkv, width, (cache), heads, cos, sin, is_falcon: rotates q and k. Items are tokens."""
    half = op[FIRST + 6] // 2
    cos, sin = f32(op[FIRST + 8], op[FIRST + 5], half), f32(op[FIRST + 9], op[FIRST + 5], half)
    part = f32(op[FIRST], tokens, op[FIRST + 1])[first:last]
    heads = op[FIRST + 7] + op[FIRST + 4]  # k stands right behind q
    if op[FIRST + 10]:
        rope.rope_halves(part, cos, sin, pos + first, 0, heads)
    else:
        rope.rope_neighbours(part, cos, sin, pos + first, 0, heads)
    return part


@njit(inline="always")
def _first_columns(op: Any) -> Any:
    """Where k and v begin in a row of qkv."""
    first_k = op[FIRST + 7] * op[FIRST + 6]
    return first_k, first_k + op[FIRST + 4] * op[FIRST + 6]


@operation
def rope_store_f32(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """As `_rope`; then K and V go into the cache. Items are tokens."""
    op = fields(op_at)
    part = _rope(op, rows, pos, first, last)
    keys, values = _cache(op, np.float32)
    attention.store_f32(part, keys, values, pos + first, *_first_columns(op))


@operation
def rope_store_f16(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """The same with a half-precision cache."""
    op = fields(op_at)
    part = _rope(op, rows, pos, first, last)
    keys, values = _cache(op, np.uint16)
    attention.store_f16(part, keys, values, pos + first, *_first_columns(op))


@njit(inline="always")
def _block(op: Any, tokens: int, item: int, pos: int) -> Any:
    """Of an item: K/V head, query vectors, output, query heads [a, b), positions to look at."""
    n_kv, head_dim, rows = op[FIRST + 4], op[FIRST + 6], 1 << op[ROWS_SHIFT]
    blocks = (tokens + rows - 1) >> op[ROWS_SHIFT]
    kv, start = item // blocks, item % blocks * rows
    stop = min(start + rows, tokens)
    qkv = f32(op[FIRST], tokens, op[FIRST + 1])[start:stop]
    out = f32(op[FIRST + 9], tokens, op[FIRST + 7] * head_dim)[start:stop]
    first_head = carray(pointer(op[FIRST + 8]), (n_kv + 1,), np.int64)
    return kv, qkv, out, first_head[kv], first_head[kv + 1], pos + stop


@operation
def attend_f32(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """qkv, width, (cache), heads, first_head, out. Items are blocks of tokens of a K/V head.

    first_head int64 (kv_heads + 1,): the query heads that read each K/V head.
    """
    op = fields(op_at)
    keys, values = _cache(op, np.float32)
    for item in range(first, last):
        kv, q, out, a, b, n = _block(op, rows, item, pos)
        attention.attend_f32(q, keys[kv, :n], values[kv, :n], out, a, b)


@operation
def attend_f16(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """The same with a half-precision cache."""
    op = fields(op_at)
    keys, values = _cache(op, np.uint16)
    for item in range(first, last):
        kv, q, out, a, b, n = _block(op, rows, item, pos)
        attention.attend_f16(q, keys[kv, :n], values[kv, :n], out, a, b)
