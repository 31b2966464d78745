"""Matrix products out of addresses: of an operation, and of the experts of a mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from engine.kernels import matmul
from engine.kernels.atomics import pointer
from engine.kernels.q40 import q40_q80
from engine.kernels.table import (
    CODE,
    F16_F32,
    F32_F32,
    FIRST,
    Q40_F32,
    Q40_Q80,
    Q80_Q80,
    f32,
)


@njit(inline="always")
def _u16(address: Any, shape: Any) -> Any:
    return carray(pointer(address), shape, np.uint16)


@njit(inline="always")
def _q40(address: Any, deltas_at: Any, groups: Any, blocks: Any) -> Any:
    packed = carray(pointer(address), (groups, blocks, 4, 32), np.uint8)
    return packed, _u16(deltas_at, (groups, blocks, 8))


@njit(inline="always")
def _q80(address: Any, scales_at: Any, sums_at: Any, tokens: Any, blocks: Any) -> Any:
    values = carray(pointer(address), (tokens, blocks * 32), np.int8)
    sums = carray(pointer(sums_at), (tokens, blocks), np.int32)
    return values, f32(scales_at, tokens, blocks), sums


@njit
def _product_q40_q80(
    weights: int, deltas: int, inputs: Any, out: Any, n: int, first: int, last: int
) -> None:
    tokens, rows = out.shape
    blocks = n // 32
    packed, halves = _q40(weights, deltas, (rows + 7) // 8, blocks)
    values, scales, sums = _q80(inputs[0], inputs[1], inputs[2], tokens, blocks)
    q40_q80(packed, halves, values, scales, sums, out, first, last)


@njit
def _product_other(
    code: int, weights: int, deltas: int, inputs: Any, out: Any, n: int, first: int, last: int
) -> None:
    tokens, rows = out.shape
    blocks = n // 32
    x = f32(inputs[3], tokens, n)
    if code == F32_F32:
        matmul.f32_f32(f32(weights, rows, n), x, out, first, last)
    elif code == F16_F32:
        matmul.f16_f32(_u16(weights, (rows, n)), x, out, first, last)
    elif code == Q40_F32:
        packed, halves = _q40(weights, deltas, (rows + 7) // 8, blocks)
        matmul.q40_f32(packed, halves, x, out, first, last)
    else:
        bytes_ = carray(pointer(weights), (rows, blocks, 32), np.int8)
        halves = _u16(deltas, (rows, blocks))
        if code == Q80_Q80:
            values, scales, _ = _q80(inputs[0], inputs[1], inputs[2], tokens, blocks)
            matmul.q80_q80(bytes_, halves, values, scales, out, first, last)
        else:
            matmul.q80_f32(bytes_, halves, x, out, first, last)


@njit
def product(
    code: int, weights: int, deltas: int, inputs: Any, out: Any, n: int, first: int, last: int
) -> None:
    """Rows [first, last) of out (tokens, rows) = x W^T.

    Args:
        code: which kinds of weights and input.
        weights: address of the packed matrix.
        deltas: address of its scales, if it has any.
        inputs: addresses of x (tokens, n): values, scales, sums, floats.
        out: float32 (tokens, rows).
        n: columns of the matrix.
        first: first row.
        last: one past the last row.
    """
    if code == Q40_Q80:
        _product_q40_q80(weights, deltas, inputs, out, n, first, last)
    else:
        _product_other(code, weights, deltas, inputs, out, n, first, last)


@njit
def multiply(op: Any, tokens: int, first: int, last: int) -> None:
    """weights, deltas, rows, out; then activations. Items are rows."""
    at = FIRST + 4
    inputs = (op[at + 2], op[at + 3], op[at + 4], op[at + 5])
    out = f32(op[FIRST + 3], tokens, op[FIRST + 2])
    product(op[CODE], op[FIRST], op[FIRST + 1], inputs, out, op[at], first, last)
