"""The operations of a layer, chunk by chunk (`kernels.table` says what a row holds)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from engine.kernels import attention, casts, experts, layers, parts, products
from engine.kernels.atomics import pointer
from engine.kernels.bits import bits_to_f32
from engine.kernels.table import (
    ACTIVATE,
    ACTIVATE_LOAD,
    ADD_CAST,
    ADD_PARTS,
    ATTEND_F16,
    ATTEND_F32,
    CODE,
    COMBINE,
    EXPERTS,
    F32_F32,
    FIRST,
    GRAIN,
    HEAD_NORMS,
    ITEMS,
    ITEMS_A_ROW,
    LOAD,
    MATMUL,
    NORM,
    NORM_LOAD,
    PACK,
    PIECE,
    PLACE_PARTS,
    ROPE_STORE_F16,
    ROPE_STORE_F32,
    ROUTE,
    TAKE,
    TIMES,
    cast,
    f32,
    pieces,
)  # fmt: skip


@njit
def _norm(op: Any, tokens: int, row: int, first: int, last: int) -> None:
    """x, weight, n, epsilon's bits, out (n_batches, n); then, for NORM_LOAD, activations."""
    n = op[FIRST + 2]
    x, weight = f32(op[FIRST], row + tokens, n), f32(op[FIRST + 1], 1, n)[0]
    out = f32(op[FIRST + 4], tokens, n)
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    for token in range(first, last):
        layers.norm_row(x[row + token], weight, epsilon, out[token])
        if op[CODE] == NORM_LOAD:
            cast(op, FIRST + 5, tokens, out[token], token, 0, n)


@njit
def _load(op: Any, tokens: int, first: int, last: int) -> None:
    """x; then activations. Items are pieces of rows."""
    n = op[FIRST + 1]
    x = f32(op[FIRST], tokens, n)
    per_row = pieces(n)
    for item in range(first, last):
        token, piece = item // per_row, item % per_row
        start = piece * PIECE
        cast(op, FIRST + 1, tokens, x[token], token, start, min(n, start + PIECE))


@njit
def _activate(op: Any, tokens: int, first: int, last: int) -> None:
    """gate_up, out, is_silu; then activations, whose n counts for both. Pieces of rows."""
    n = op[FIRST + 3]
    gate_up, out = f32(op[FIRST], tokens, 2 * n), f32(op[FIRST + 1], tokens, n)
    per_row = pieces(n)
    for item in range(first, last):
        token, piece = item // per_row, item % per_row
        start = piece * PIECE
        stop = min(n, start + PIECE)
        gate, up = gate_up[token, start:stop], gate_up[token, n + start : n + stop]
        if op[FIRST + 2]:
            layers.silu_row(gate, up, out[token, start:stop])
        else:
            layers.gelu_row(gate, up, out[token, start:stop])
        if op[CODE] == ACTIVATE_LOAD:
            cast(op, FIRST + 3, tokens, out[token], token, start, stop)


@njit
def _add_cast(op: Any, tokens: int, first: int, last: int) -> None:
    """partial, x, n, is_q80: x += the partial as it would come from the wire. Pieces of rows."""
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


@njit
def _head_norms(op: Any, tokens: int, first: int, last: int) -> None:
    """qkv, width, weight, epsilon's bits, head_dim, first column, n_heads. Items are tokens."""
    weight = f32(op[FIRST + 2], 1, op[FIRST + 4])[0]
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    part = f32(op[FIRST], tokens, op[FIRST + 1])[first:last]
    layers.rms_norm_heads(part, weight, epsilon, op[FIRST + 5], op[FIRST + 6])


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
        layers.rope_halves(part, cos, sin, pos + first, 0, heads)
    else:
        layers.rope_neighbours(part, cos, sin, pos + first, 0, heads)
    return part


@njit
def _rope_store(op: Any, tokens: int, pos: int, first: int, last: int) -> None:
    """As `_rope`; then K and V go into the cache."""
    part = _rope(op, tokens, pos, first, last)
    first_k = op[FIRST + 7] * op[FIRST + 6]
    first_v = first_k + op[FIRST + 4] * op[FIRST + 6]
    if op[CODE] == ROPE_STORE_F32:
        keys, values = _cache(op, np.float32)
        attention.store_f32(part, keys, values, pos + first, first_k, first_v)
    else:
        halves, half_values = _cache(op, np.uint16)
        attention.store_f16(part, halves, half_values, pos + first, first_k, first_v)


@njit
def _attend(op: Any, tokens: int, pos: int, first: int, last: int) -> None:
    """qkv, width, (cache), heads, first_head, out. Items are K/V heads, token by token.

    first_head int64 (kv_heads + 1,): the query heads that read each K/V head.
    """
    n_kv, head_dim = op[FIRST + 4], op[FIRST + 6]
    qkv = f32(op[FIRST], tokens, op[FIRST + 1])
    out = f32(op[FIRST + 9], tokens, op[FIRST + 7] * head_dim)
    first_head = carray(pointer(op[FIRST + 8]), (n_kv + 1,), np.int64)
    for item in range(first, last):
        token, kv = item // n_kv, item % n_kv
        a, b, n = first_head[kv], first_head[kv + 1], pos + token + 1
        if op[CODE] == ATTEND_F32:
            keys, values = _cache(op, np.float32)
            attention.attend_f32(qkv[token], keys[kv, :n], values[kv, :n], out[token], a, b)
        else:
            halves, half_values = _cache(op, np.uint16)
            attention.attend_f16(qkv[token], halves[kv, :n], half_values[kv, :n], out[token], a, b)


@njit(nogil=True)
def run_chunk(op: Any, chunk: int, tokens: int, pos: int, row: int) -> None:
    """Run one chunk of an operation on a batch.

    Args:
        op: int64 (WIDTH,).
        chunk: which.
        tokens: tokens in the batch.
        pos: position of the first token.
        row: first row of x that a norm reads.
    """
    code, rows = op[CODE], op[TIMES] * tokens
    first = chunk * op[GRAIN]
    last = min(first + op[GRAIN], op[ITEMS] + op[ITEMS_A_ROW] * rows)
    if MATMUL <= code <= F32_F32:
        products.multiply(op, rows, first, last)
    elif code == EXPERTS:
        experts.multiply(op, rows, first, last)
    elif code == NORM_LOAD or code == NORM:
        _norm(op, rows, row, first, last)
    elif code == LOAD:
        _load(op, rows, first, last)
    elif code == ACTIVATE or code == ACTIVATE_LOAD:
        _activate(op, rows, first, last)
    elif code == ADD_CAST:
        _add_cast(op, rows, first, last)
    elif code == ROPE_STORE_F32 or code == ROPE_STORE_F16:
        _rope_store(op, rows, pos, first, last)
    elif code == ATTEND_F32 or code == ATTEND_F16:
        _attend(op, rows, pos, first, last)
    elif code == HEAD_NORMS:
        _head_norms(op, rows, first, last)
    elif code == PACK:
        parts.pack(op, rows, first, last)
    elif code == ADD_PARTS:
        parts.add(op, rows, first, last)
    elif code == PLACE_PARTS:
        parts.place(op, rows, first, last)
    elif code == ROUTE:
        experts.route(op, tokens)
    elif code == TAKE:
        experts.take(op, rows, first, last)
    elif code == COMBINE:
        experts.combine(op, tokens, first, last)
