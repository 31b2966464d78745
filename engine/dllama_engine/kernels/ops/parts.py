"""Vectors as they are on the wire: cast into a rank's part, and out of everyone's parts.

The parts' table is int64 (world_size, PART_WIDTH): where each rank's part begins and which columns
of the whole vector it holds. A part is (rows, columns) in the buffer type, without gaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.bits import f16_to_f32
from dllama_engine.kernels.llvm.casts import add_block, cast_block, place_block
from dllama_engine.kernels.ops.compiled import operation
from dllama_engine.kernels.ops.table import activations, f32, fields, pieces
from dllama_engine.tables.blocks import BLOCK
from dllama_engine.tables.operations import FIRST, IS_Q80, NEEDS_FLOATS, NEEDS_SUMS, PIECE
from dllama_engine.tables.parts import COLUMNS, FIRST_COLUMN, PART_AT, PART_WIDTH

_Q80_BYTES = 34


@njit(inline="always")
def _table(address: Any, world_size: Any) -> Any:
    return carray(pointer(address), (world_size, PART_WIDTH), np.int64)


@njit(inline="always")
def _q80_row(part: Any, row: int) -> Any:
    """One row of a part, uint8 (bytes,)."""
    width = part[COLUMNS] // BLOCK * _Q80_BYTES
    return carray(pointer(part[PART_AT] + row * width), (width,), np.uint8)


@njit(inline="always")
def _scale(packed: Any, at: int) -> Any:
    return f16_to_f32(np.uint16(np.uint16(packed[at]) | np.uint16(packed[at + 1]) << np.uint16(8)))


@njit(inline="always")
def _columns(part: Any, start: int, stop: int) -> Any:
    """Which of columns [start, stop) a part holds."""
    first = part[FIRST_COLUMN]
    return max(start, first), min(stop, first + part[COLUMNS])


@operation
def pack(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x, n, part, is_q80: cast x (rows, n) into this rank's part. Items are pieces of rows."""
    op = fields(op_at)
    n = op[FIRST + 1]
    x = f32(op[FIRST], rows, n)
    per_row, width = pieces(n), n // BLOCK * _Q80_BYTES
    for item in range(first, last):
        at_row, start = item // per_row, item % per_row * PIECE
        stop = min(n, start + PIECE)
        if op[FIRST + 3]:
            packed = carray(pointer(op[FIRST + 2] + at_row * width), (width,), np.uint8)
            for block in range(start // BLOCK, stop // BLOCK):
                at = block * _Q80_BYTES
                half, _ = cast_block(x[at_row], block * BLOCK, packed, at + 2)
                packed[at] = np.uint8(half & np.uint16(0xFF))
                packed[at + 1] = np.uint8(half >> np.uint16(8))
        else:
            copy = f32(op[FIRST + 2], rows, n)
            for i in range(start, stop):
                copy[at_row, i] = x[at_row, i]


@njit
def _add_part(part: Any, is_q80: bool, rows: int, row: int, x: Any, start: int, stop: int) -> None:
    first = part[FIRST_COLUMN]
    if is_q80:
        packed = _q80_row(part, row)
        for column in range(start, stop, BLOCK):
            at = (column - first) // BLOCK * _Q80_BYTES
            add_block(packed, at + 2, _scale(packed, at), x, column)
    else:
        values = f32(part[PART_AT], rows, part[COLUMNS])
        for i in range(start, stop):
            x[i] += values[row, i - first]


@operation
def add(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x, n, parts, world_size, is_q80: x (rows, n) += the parts in rank order. Pieces of rows."""
    op = fields(op_at)
    n, world_size = op[FIRST + 1], op[FIRST + 3]
    x, table = f32(op[FIRST], rows, n), _table(op[FIRST + 2], world_size)
    per_row = pieces(n)
    for item in range(first, last):
        at_row, start = item // per_row, item % per_row * PIECE
        for rank in range(world_size):
            a, b = _columns(table[rank], start, min(n, start + PIECE))
            if a < b:
                _add_part(table[rank], op[FIRST + 4] != 0, rows, at_row, x[at_row], a, b)


@njit
def _place_q80(op: Any, part: Any, rows: int, row: int, start: int, stop: int) -> None:
    flags, values, scales, sums, floats = activations(op, FIRST + 2, rows)
    packed, first = _q80_row(part, row), part[FIRST_COLUMN]
    for column in range(start, stop, BLOCK):
        at, block = (column - first) // BLOCK * _Q80_BYTES, column // BLOCK
        total = np.int32(0)
        for i in range(BLOCK):
            value = np.int8(packed[at + 2 + i])
            values[row, column + i] = value
            total += np.int32(value)
        scales[row, block] = _scale(packed, at)
        if flags & NEEDS_SUMS:
            sums[row, block] = np.int32(-8) * total
        if flags & NEEDS_FLOATS:
            place_block(values[row], column, scales[row, block], floats[row], column)


@operation
def place(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """parts, world_size; then activations (rows, n), filled from the parts. Pieces of rows."""
    op = fields(op_at)
    world_size, n, flags = op[FIRST + 1], op[FIRST + 2], op[FIRST + 3]
    table = _table(op[FIRST], world_size)
    per_row = pieces(n)
    for item in range(first, last):
        at_row, start = item // per_row, item % per_row * PIECE
        for rank in range(world_size):
            part = table[rank]
            a, b = _columns(part, start, min(n, start + PIECE))
            if a < b and flags & IS_Q80:
                _place_q80(op, part, rows, at_row, a, b)
            elif a < b:
                floats = f32(op[FIRST + 7], rows, n)
                values = f32(part[PART_AT], rows, part[COLUMNS])
                for i in range(a, b):
                    floats[at_row, i] = values[at_row, i - part[FIRST_COLUMN]]
