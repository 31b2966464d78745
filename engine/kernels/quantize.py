"""Casts between float32 vectors and the buffer types: Q80 apart (for products) or packed (wire)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.bits import f16_to_f32, f32_to_f16

_BLOCK = 32
_Q80_BYTES = 34


@njit(inline="always")
def _block_delta(x: Any, row: int, start: int) -> np.float32:
    """max|x| / 127 of one block of 32 values."""
    peak = np.float32(0.0)
    for i in range(_BLOCK):
        peak = max(peak, abs(x[row, start + i]))
    return peak / np.float32(127.0)


@njit(inline="always")
def _to_int8(value: np.float32) -> np.int8:
    """Nearest integer, halves away from zero, as C's roundf."""
    whole = np.int32(value)
    rest = value - np.float32(whole)
    return np.int8(whole + np.int32(rest >= np.float32(0.5)) - np.int32(rest <= np.float32(-0.5)))


@njit(cache=True, nogil=True)
def quantize_q80(x: Any, values: Any, scales: Any) -> None:
    """Cast rows to Q80.

    Args:
        x: float32 (rows, n).
        values: int8 (rows, n), written.
        scales: float32 (rows, n / 32), written: the deltas, rounded to half precision.
    """
    for row in range(x.shape[0]):
        for block in range(x.shape[1] // _BLOCK):
            start = block * _BLOCK
            delta = _block_delta(x, row, start)
            inverse = np.float32(1.0) / delta if delta > 0 else np.float32(0.0)
            scales[row, block] = f16_to_f32(f32_to_f16(delta))
            for i in range(_BLOCK):
                values[row, start + i] = _to_int8(x[row, start + i] * inverse)


@njit(cache=True, nogil=True)
def dequantize_q80(values: Any, scales: Any, x: Any) -> None:
    """Q80 values int8 (rows, n) and scales float32 (rows, n / 32) -> x float32 (rows, n)."""
    for row in range(x.shape[0]):
        for block in range(scales.shape[1]):
            scale = scales[row, block]
            for i in range(block * _BLOCK, (block + 1) * _BLOCK):
                x[row, i] = np.float32(values[row, i]) * scale


@njit(cache=True, nogil=True)
def pack_q80(x: Any, packed: Any) -> None:
    """Cast float32 (rows, n) to Q80 as it stands in files and on the wire.

    Args:
        x: float32 (rows, n).
        packed: uint8 (rows, n / 32 * 34), written.
    """
    for row in range(x.shape[0]):
        for block in range(x.shape[1] // _BLOCK):
            start, at = block * _BLOCK, block * _Q80_BYTES
            delta = _block_delta(x, row, start)
            inverse = np.float32(1.0) / delta if delta > 0 else np.float32(0.0)
            half = f32_to_f16(delta)
            packed[row, at] = np.uint8(half & np.uint16(0xFF))
            packed[row, at + 1] = np.uint8(half >> np.uint16(8))
            for i in range(_BLOCK):
                packed[row, at + 2 + i] = np.uint8(_to_int8(x[row, start + i] * inverse))


@njit(inline="always")
def _packed_scale(packed: Any, row: int, at: int) -> np.float32:
    low, high = np.uint16(packed[row, at]), np.uint16(packed[row, at + 1])
    return f16_to_f32(np.uint16(low | (high << np.uint16(8))))


@njit(cache=True, nogil=True)
def add_packed_q80(packed: Any, x: Any) -> None:
    """x float32 (rows, n) += the values of packed uint8 (rows, n / 32 * 34)."""
    for row in range(x.shape[0]):
        for block in range(x.shape[1] // _BLOCK):
            start, at = block * _BLOCK, block * _Q80_BYTES
            scale = _packed_scale(packed, row, at)
            for i in range(_BLOCK):
                x[row, start + i] += np.float32(np.int8(packed[row, at + 2 + i])) * scale


@njit(cache=True, nogil=True)
def add_packed_q80_columns(packed: Any, x: Any, first: int) -> None:
    """The same for a slice: packed holds the columns of x from `first` on."""
    for row in range(x.shape[0]):
        for block in range(packed.shape[1] // _Q80_BYTES):
            start, at = first + block * _BLOCK, block * _Q80_BYTES
            scale = _packed_scale(packed, row, at)
            for i in range(_BLOCK):
                x[row, start + i] += np.float32(np.int8(packed[row, at + 2 + i])) * scale


@njit(cache=True, nogil=True)
def unpack_q80_columns(packed: Any, values: Any, scales: Any, first: int) -> None:
    """Place a packed slice into Q80 rows, at columns from `first` on.

    Args:
        packed: uint8 (rows, m / 32 * 34), m columns.
        values: int8 (rows, n), columns first to first + m written.
        scales: float32 (rows, n / 32), likewise.
        first: first column, a multiple of 32.
    """
    for row in range(packed.shape[0]):
        for block in range(packed.shape[1] // _Q80_BYTES):
            at, start = block * _Q80_BYTES, first + block * _BLOCK
            scales[row, start // _BLOCK] = _packed_scale(packed, row, at)
            for i in range(_BLOCK):
                values[row, start + i] = np.int8(packed[row, at + 2 + i])


@njit(cache=True, nogil=True)
def halves_to_f32(halves: Any, out: Any) -> None:
    """Half-precision bits uint16 (n,) -> float32 (n,)."""
    for i in range(out.shape[0]):
        out[i] = f16_to_f32(halves[i])
