"""Matrix products, y = x W^T, over rows [first, last) of W: all but Q40 x Q80, which is `q40`.

Each output is one row's sum in block order, whatever the other rows, so that a row's result does
not depend on how rows are spread over ranks or threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.bits import f16_to_f32
from engine.kernels.lanes import dot
from engine.kernels.q40 import LANES

_BLOCK = 32
_HALF = 16


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _block_dot(row: Any, values: Any) -> np.float32:
    """Exact in float32: at most 32 * 127 * 127 = 516 128 < 2^24."""
    total = np.float32(0.0)
    for i in range(_BLOCK):
        total += np.float32(row[i]) * np.float32(values[i])
    return total


@njit(cache=True, nogil=True)
def q80_q80(
    weights: Any, deltas: Any, values: Any, scales: Any, out: Any, first: int, last: int
) -> None:
    """Q80 weights, Q80 input.

    Args:
        weights: int8 (rows, n / 32, 32).
        deltas: half-precision bits uint16 (rows, n / 32).
        values: int8 (tokens, n).
        scales: float32 (tokens, n / 32).
        out: float32 (tokens, rows), columns first to last written.
        first: first row.
        last: one past the last row.
    """
    for row in range(first, last):
        for token in range(values.shape[0]):
            total = np.float32(0.0)
            for block in range(deltas.shape[1]):
                start = block * _BLOCK
                dot = _block_dot(weights[row, block], values[token, start : start + _BLOCK])
                total += dot * (f16_to_f32(deltas[row, block]) * scales[token, block])
            out[token, row] = total


@njit(cache=True, nogil=True)
def f32_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights float32 (rows, n), input float32 (tokens, n)."""
    for row in range(first, last):
        for token in range(x.shape[0]):
            out[token, row] = dot(weights[row], x[token])


@njit(cache=True, nogil=True)
def f16_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights half-precision bits uint16 (rows, n), input float32 (tokens, n)."""
    row_values = np.empty(weights.shape[1], np.float32)
    for row in range(first, last):
        for i in range(row_values.shape[0]):
            row_values[i] = f16_to_f32(weights[row, i])
        for token in range(x.shape[0]):
            out[token, row] = dot(row_values, x[token])


@njit(cache=True, nogil=True)
def q40_f32(weights: Any, deltas: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Q40 weights packed as in `q40`, input float32 (tokens, n)."""
    row_values = np.empty(x.shape[1], np.float32)
    for row in range(first, last):
        group, lane = row // LANES, row % LANES
        for block in range(deltas.shape[1]):
            delta = f16_to_f32(deltas[group, block, lane])
            start = block * _BLOCK
            for i in range(_HALF):
                pair = np.int32(weights[group, block, i // 4, 4 * lane + i % 4])
                row_values[start + i] = np.float32((pair & 15) - 8) * delta
                row_values[start + _HALF + i] = np.float32((pair >> 4) - 8) * delta
        for token in range(x.shape[0]):
            out[token, row] = dot(row_values, x[token])


@njit(cache=True, nogil=True)
def q80_f32(weights: Any, deltas: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Q80 weights as in `q80_q80`, input float32 (tokens, n)."""
    row_values = np.empty(x.shape[1], np.float32)
    for row in range(first, last):
        for block in range(deltas.shape[1]):
            delta = f16_to_f32(deltas[row, block])
            for i in range(_BLOCK):
                row_values[block * _BLOCK + i] = np.float32(weights[row, block, i]) * delta
        for token in range(x.shape[0]):
            out[token, row] = dot(row_values, x[token])
