"""Portable matrix products, y = x W^T, over rows [first, last) of W: one per weight x input type.

Each output is one row's sum in block order, whatever the other rows, so that a row's result does
not depend on how rows are spread over ranks or threads. These are the fall-back on any CPU and the
twin that faster variants are compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.bits import f16_to_f32

_BLOCK = 32
_HALF = 16


@njit(cache=True, nogil=True)
def q40_q80(
    nibbles: Any, deltas: Any, values: Any, scales: Any, out: Any, first: int, last: int
) -> None:
    """Q40 weights, Q80 input.

    Args:
        nibbles: uint8 (rows, n / 32, 16).
        deltas: half-precision bits uint16 (rows, n / 32).
        values: int8 (tokens, n).
        scales: float32 (tokens, n / 32).
        out: float32 (tokens, rows), columns first to last written.
        first: first row.
        last: one past the last row.
    """
    n_blocks = deltas.shape[1]
    row_values = np.empty(n_blocks * _BLOCK, np.int8)
    row_scales = np.empty(n_blocks, np.float32)
    for row in range(first, last):
        for block in range(n_blocks):
            row_scales[block] = f16_to_f32(deltas[row, block])
            start = block * _BLOCK
            for i in range(_HALF):
                pair = nibbles[row, block, i]
                row_values[start + i] = np.int8(pair & np.uint8(15)) - np.int8(8)
                row_values[start + _HALF + i] = np.int8(pair >> np.uint8(4)) - np.int8(8)
        for token in range(values.shape[0]):
            total = np.float32(0.0)
            for block in range(n_blocks):
                dot = np.int32(0)
                for i in range(block * _BLOCK, (block + 1) * _BLOCK):
                    dot += np.int32(row_values[i]) * np.int32(values[token, i])
                total += np.float32(dot) * (row_scales[block] * scales[token, block])
            out[token, row] = total


@njit(cache=True, nogil=True)
def q80_q80(
    weights: Any, deltas: Any, values: Any, scales: Any, out: Any, first: int, last: int
) -> None:
    """Q80 weights int8 (rows, n / 32, 32) and deltas uint16 (rows, n / 32), Q80 input."""
    n_blocks = deltas.shape[1]
    for row in range(first, last):
        for token in range(values.shape[0]):
            total = np.float32(0.0)
            for block in range(n_blocks):
                dot = np.int32(0)
                for i in range(_BLOCK):
                    dot += np.int32(weights[row, block, i]) * np.int32(
                        values[token, block * _BLOCK + i]
                    )
                total += np.float32(dot) * (f16_to_f32(deltas[row, block]) * scales[token, block])
            out[token, row] = total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Any, x: Any) -> np.float32:
    total = np.float32(0.0)
    for i in range(row.shape[0]):
        total += row[i] * x[i]
    return total


@njit(cache=True, nogil=True)
def f32_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights float32 (rows, n), input float32 (tokens, n)."""
    for row in range(first, last):
        for token in range(x.shape[0]):
            out[token, row] = _dot(weights[row], x[token])


@njit(cache=True, nogil=True)
def f16_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights half-precision bits uint16 (rows, n), input float32 (tokens, n)."""
    row_values = np.empty(weights.shape[1], np.float32)
    for row in range(first, last):
        for i in range(row_values.shape[0]):
            row_values[i] = f16_to_f32(weights[row, i])
        for token in range(x.shape[0]):
            out[token, row] = _dot(row_values, x[token])


@njit(cache=True, nogil=True)
def q40_f32(nibbles: Any, deltas: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Q40 weights as in `q40_q80`, input float32 (tokens, n)."""
    row_values = np.empty(x.shape[1], np.float32)
    for row in range(first, last):
        for block in range(deltas.shape[1]):
            delta = f16_to_f32(deltas[row, block])
            start = block * _BLOCK
            for i in range(_HALF):
                pair = nibbles[row, block, i]
                row_values[start + i] = (
                    np.float32(np.int8(pair & np.uint8(15)) - np.int8(8)) * delta
                )
                row_values[start + _HALF + i] = (
                    np.float32(np.int8(pair >> np.uint8(4)) - np.int8(8)) * delta
                )
        for token in range(x.shape[0]):
            out[token, row] = _dot(row_values, x[token])


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
            out[token, row] = _dot(row_values, x[token])
