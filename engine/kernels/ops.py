"""A forward pass as a table of operations, each cut into chunks that any thread may take.

A row of the table is int64 (WIDTH,): what to do, how it is cut, and the addresses and sizes of its
arrays. All arrays are contiguous. The fields of a row after FIRST are those of the function that
takes it apart here; `engine.program` writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from engine.kernels import attention, casts, layers, matmul
from engine.kernels.atomics import pointer
from engine.kernels.bits import bits_to_f32
from engine.kernels.q40 import q40_q80

WIDTH = 24
CODE, ITEMS, ITEMS_A_TOKEN, GRAIN, FIRST = 0, 1, 2, 3, 4

NORM_LOAD, LOAD, NORM = 0, 1, 2
MATMUL = 3  # and following: one for each kind of weights and input
Q40_Q80, Q80_Q80, Q40_F32, Q80_F32, F16_F32, F32_F32 = range(MATMUL, MATMUL + 6)
ROPE_STORE_F32, ROPE_STORE_F16, ATTEND_F32, ATTEND_F16 = range(9, 13)
ACTIVATE, ACTIVATE_LOAD, ADD_CAST, HEAD_NORMS = range(13, 17)

IS_Q80, NEEDS_SUMS, NEEDS_FLOATS = 1, 2, 4  # flags of activations
PIECE = 512  # columns of one item of an operation that goes through vectors


@njit(inline="always")
def chunks(op: Any, tokens: int) -> Any:
    """How many chunks an operation has."""
    items = op[ITEMS] + op[ITEMS_A_TOKEN] * tokens
    return (items + op[GRAIN] - 1) // op[GRAIN]


@njit(inline="always")
def _f32(address: Any, rows: Any, cols: Any) -> Any:
    return carray(pointer(address), (rows, cols), np.float32)


@njit(inline="always")
def _input(op: Any, at: int, tokens: int) -> Any:
    """Activations at fields at, ...: n, flags, values, scales, sums, floats."""
    n, flags = op[at], op[at + 1]
    quantized = n // 32 if flags & IS_Q80 else 0
    values = carray(pointer(op[at + 2]), (tokens, n if flags & IS_Q80 else 0), np.int8)
    scales = _f32(op[at + 3], tokens, quantized)
    sums = carray(pointer(op[at + 4]), (tokens, quantized), np.int32)
    floats = _f32(op[at + 5], tokens, n)
    return flags, values, scales, sums, floats


@njit
def _cast(op: Any, at: int, tokens: int, x: Any, token: int, first: int, last: int) -> None:
    """Put columns [first, last) of x (n,) into the activations' row `token`."""
    flags, values, scales, sums, floats = _input(op, at, tokens)
    if flags & IS_Q80:
        casts.cast_q80(
            x, values[token], scales[token], sums[token], floats[token], flags, first, last
        )
    else:
        for i in range(first, last):
            floats[token, i] = x[i]


@njit
def _norm(op: Any, tokens: int, row: int, first: int, last: int) -> None:
    """x, weight, n, epsilon's bits, out (n_batches, n); then, for NORM_LOAD, activations."""
    n = op[FIRST + 2]
    x, weight = _f32(op[FIRST], row + tokens, n), _f32(op[FIRST + 1], 1, n)[0]
    out = _f32(op[FIRST + 4], tokens, n)
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    for token in range(first, last):
        layers.norm_row(x[row + token], weight, epsilon, out[token])
        if op[CODE] == NORM_LOAD:
            _cast(op, FIRST + 5, tokens, out[token], token, 0, n)


@njit
def _load(op: Any, tokens: int, first: int, last: int) -> None:
    """x; then activations. Items are pieces of rows."""
    n = op[FIRST + 1]
    x = _f32(op[FIRST], tokens, n)
    pieces = (n + PIECE - 1) // PIECE
    for item in range(first, last):
        token, piece = item // pieces, item % pieces
        start = piece * PIECE
        _cast(op, FIRST + 1, tokens, x[token], token, start, min(n, start + PIECE))


@njit
def _activate(op: Any, tokens: int, first: int, last: int) -> None:
    """gate_up, out, is_silu; then activations, whose n counts for both. Pieces of rows."""
    n = op[FIRST + 3]
    gate_up, out = _f32(op[FIRST], tokens, 2 * n), _f32(op[FIRST + 1], tokens, n)
    pieces = (n + PIECE - 1) // PIECE
    for item in range(first, last):
        token, piece = item // pieces, item % pieces
        start = piece * PIECE
        stop = min(n, start + PIECE)
        gate, up = gate_up[token, start:stop], gate_up[token, n + start : n + stop]
        if op[FIRST + 2]:
            layers.silu_row(gate, up, out[token, start:stop])
        else:
            layers.gelu_row(gate, up, out[token, start:stop])
        if op[CODE] == ACTIVATE_LOAD:
            _cast(op, FIRST + 3, tokens, out[token], token, start, stop)


@njit
def _add_cast(op: Any, tokens: int, first: int, last: int) -> None:
    """partial, x, n, is_q80: x += the partial as it would come from the wire. Pieces of rows."""
    n = op[FIRST + 2]
    partial, x = _f32(op[FIRST], tokens, n), _f32(op[FIRST + 1], tokens, n)
    pieces = (n + PIECE - 1) // PIECE
    for item in range(first, last):
        token, piece = item // pieces, item % pieces
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
    weight = _f32(op[FIRST + 2], 1, op[FIRST + 4])[0]
    epsilon = bits_to_f32(np.uint32(op[FIRST + 3]))
    part = _f32(op[FIRST], tokens, op[FIRST + 1])[first:last]
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
    cos, sin = _f32(op[FIRST + 8], op[FIRST + 5], half), _f32(op[FIRST + 9], op[FIRST + 5], half)
    part = _f32(op[FIRST], tokens, op[FIRST + 1])[first:last]
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
    qkv = _f32(op[FIRST], tokens, op[FIRST + 1])
    out = _f32(op[FIRST + 9], tokens, op[FIRST + 7] * head_dim)
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


@njit
def _matmul_other(op: Any, tokens: int, first: int, last: int) -> None:
    """weights, deltas, rows, out; then activations. Items are rows: all kinds but Q40 x Q80."""
    rows, n = op[FIRST + 2], op[FIRST + 4]
    _, values, scales, _, x = _input(op, FIRST + 4, tokens)
    out = _f32(op[FIRST + 3], tokens, rows)
    blocks, groups = n // 32, (rows + 7) // 8
    code = op[CODE]
    if code == F32_F32:
        matmul.f32_f32(_f32(op[FIRST], rows, n), x, out, first, last)
    elif code == F16_F32:
        halves = carray(pointer(op[FIRST]), (rows, n), np.uint16)
        matmul.f16_f32(halves, x, out, first, last)
    elif code == Q40_F32:
        packed = carray(pointer(op[FIRST]), (groups, blocks, 4, 32), np.uint8)
        deltas = carray(pointer(op[FIRST + 1]), (groups, blocks, 8), np.uint16)
        matmul.q40_f32(packed, deltas, x, out, first, last)
    else:
        weights = carray(pointer(op[FIRST]), (rows, blocks, 32), np.int8)
        scale = carray(pointer(op[FIRST + 1]), (rows, blocks), np.uint16)
        if code == Q80_Q80:
            matmul.q80_q80(weights, scale, values, scales, out, first, last)
        else:
            matmul.q80_f32(weights, scale, x, out, first, last)


@njit(nogil=True)
def _matmul_q40_q80(op: Any, tokens: int, first: int, last: int) -> None:
    """The same for Q40 x Q80, in the variant of this CPU."""
    rows, n = op[FIRST + 2], op[FIRST + 4]
    _, values, scales, sums, _ = _input(op, FIRST + 4, tokens)
    blocks, groups = n // 32, (rows + 7) // 8
    packed = carray(pointer(op[FIRST]), (groups, blocks, 4, 32), np.uint8)
    deltas = carray(pointer(op[FIRST + 1]), (groups, blocks, 8), np.uint16)
    out = _f32(op[FIRST + 3], tokens, rows)
    q40_q80(packed, deltas, values, scales, sums, out, first, last)


@njit(nogil=True)
def run_chunk(op: Any, chunk: int, tokens: int, pos: int, row: int) -> None:
    """Run one chunk of an operation."""
    code = op[CODE]
    first = chunk * op[GRAIN]
    last = min(first + op[GRAIN], op[ITEMS] + op[ITEMS_A_TOKEN] * tokens)
    if code == Q40_Q80:
        _matmul_q40_q80(op, tokens, first, last)
    elif MATMUL < code <= F32_F32:
        _matmul_other(op, tokens, first, last)
    elif code == NORM_LOAD or code == NORM:
        _norm(op, tokens, row, first, last)
    elif code == LOAD:
        _load(op, tokens, first, last)
    elif code == ACTIVATE or code == ACTIVATE_LOAD:
        _activate(op, tokens, first, last)
    elif code == ADD_CAST:
        _add_cast(op, tokens, first, last)
    elif code == ROPE_STORE_F32 or code == ROPE_STORE_F16:
        _rope_store(op, tokens, pos, first, last)
    elif code == ATTEND_F32 or code == ATTEND_F16:
        _attend(op, tokens, pos, first, last)
    else:
        _head_norms(op, tokens, first, last)
