"""Casts of whole batches between float32 and Q80: apart (for products) or packed (on the wire)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.bits import f16_to_f32
from engine.kernels.casts import add_block, cast_block, cast_q80, place_block

_BLOCK = 32
_Q80_BYTES = 34


@njit(cache=True, nogil=True)
def quantize_q80(x: Any, values: Any, scales: Any) -> None:
    """Cast rows to Q80.

    Args:
        x: float32 (rows, n).
        values: int8 (rows, n), written.
        scales: float32 (rows, n / 32), written: the deltas, rounded to half precision.
    """
    nothing, none = np.empty(0, np.int32), np.empty(0, np.float32)
    for row in range(x.shape[0]):
        cast_q80(x[row], values[row], scales[row], nothing, none, 0, 0, x.shape[1])


@njit(cache=True, nogil=True)
def dequantize_q80(values: Any, scales: Any, x: Any) -> None:
    """Q80 values int8 (rows, n) and scales float32 (rows, n / 32) -> x float32 (rows, n)."""
    for row in range(x.shape[0]):
        for block in range(scales.shape[1]):
            place_block(values[row], block * _BLOCK, scales[row, block], x[row], block * _BLOCK)


@njit(cache=True, nogil=True)
def pack_q80(x: Any, packed: Any) -> None:
    """Cast float32 (rows, n) to Q80 as it stands in files and on the wire.

    Args:
        x: float32 (rows, n).
        packed: uint8 (rows, n / 32 * 34), written.
    """
    for row in range(x.shape[0]):
        for block in range(x.shape[1] // _BLOCK):
            at = block * _Q80_BYTES
            half, _ = cast_block(x[row], block * _BLOCK, packed[row], at + 2)
            packed[row, at] = np.uint8(half & np.uint16(0xFF))
            packed[row, at + 1] = np.uint8(half >> np.uint16(8))


@njit(inline="always")
def _packed_scale(packed: Any, row: int, at: int) -> np.float32:
    low, high = np.uint16(packed[row, at]), np.uint16(packed[row, at + 1])
    return f16_to_f32(np.uint16(low | (high << np.uint16(8))))


@njit(cache=True, nogil=True)
def add_packed_q80_columns(packed: Any, x: Any, first: int) -> None:
    """Add packed values to a slice of x.

    Args:
        packed: uint8 (rows, m / 32 * 34), m columns.
        x: float32 (rows, n), columns first to first + m changed.
        first: first column.
    """
    for row in range(x.shape[0]):
        for block in range(packed.shape[1] // _Q80_BYTES):
            at = block * _Q80_BYTES
            scale = _packed_scale(packed, row, at)
            add_block(packed[row], at + 2, scale, x[row], first + block * _BLOCK)


@njit(cache=True, nogil=True)
def add_all_packed_q80(parts: Any, x: Any) -> None:
    """x float32 (rows, n) += each of parts uint8 (ranks, rows, n / 32 * 34), in rank order."""
    for row in range(x.shape[0]):
        for block in range(x.shape[1] // _BLOCK):
            at = block * _Q80_BYTES
            for rank in range(parts.shape[0]):
                scale = _packed_scale(parts[rank], row, at)
                add_block(parts[rank, row], at + 2, scale, x[row], block * _BLOCK)


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
