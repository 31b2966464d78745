"""Vectors as they are on the wire: cast into parts, summed and put together out of parts.

A table of parts (`tables.parts`) says where each begins and which columns of the whole vector it
holds. A part is (rows, columns) in the buffer type, without gaps.
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
from dllama_engine.tables.parts import COLUMNS, FIRST_COLUMN, PART_AT, PART_OFFSET, PART_WIDTH

_Q80_BYTES = 34


@njit(inline="always")
def _table(address: Any, n_parts: Any) -> Any:
    return carray(pointer(address), (n_parts, PART_WIDTH), np.int64)


@njit(inline="always")
def _begin(part: Any, rows: int) -> Any:
    return part[PART_AT] + part[PART_OFFSET] * rows


@njit(inline="always")
def _q80_row(part: Any, rows: int, row: int) -> Any:
    """One row of a part, uint8 (bytes,)."""
    width = part[COLUMNS] // BLOCK * _Q80_BYTES
    return carray(pointer(_begin(part, rows) + row * width), (width,), np.uint8)


@njit(inline="always")
def _f32_rows(part: Any, rows: int) -> Any:
    """A part that is not quantized, float32 (rows, columns)."""
    return f32(_begin(part, rows), rows, part[COLUMNS])


@njit(inline="always")
def _scale(packed: Any, at: int) -> Any:
    return f16_to_f32(np.uint16(np.uint16(packed[at]) | np.uint16(packed[at + 1]) << np.uint16(8)))


@njit(inline="always")
def _columns(part: Any, start: int, stop: int) -> Any:
    """Which of columns [start, stop) a part holds."""
    first = part[FIRST_COLUMN]
    return max(start, first), min(stop, first + part[COLUMNS])


@njit
def _pack_part(part: Any, is_q80: bool, rows: int, row: int, x: Any, start: int, stop: int) -> None:
    """Columns [start, stop) of x, one row, into a part that holds them."""
    first = part[FIRST_COLUMN]
    if is_q80:
        packed = _q80_row(part, rows, row)
        for column in range(start, stop, BLOCK):
            at = (column - first) // BLOCK * _Q80_BYTES
            half, _ = cast_block(x, column, packed, at + 2)
            packed[at] = np.uint8(half & np.uint16(0xFF))
            packed[at + 1] = np.uint8(half >> np.uint16(8))
    else:
        copy = _f32_rows(part, rows)
        for i in range(start, stop):
            copy[row, i - first] = x[i]


@operation
def pack(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x, n, parts, n_parts, is_q80: cast x (rows, n) into the parts. Items are pieces of rows."""
    op = fields(op_at)
    n, n_parts = op[FIRST + 1], op[FIRST + 3]
    x, table = f32(op[FIRST], rows, n), _table(op[FIRST + 2], n_parts)
    per_row = pieces(n)
    for item in range(first, last):
        at_row, start = item // per_row, item % per_row * PIECE
        for index in range(n_parts):
            a, b = _columns(table[index], start, min(n, start + PIECE))
            if a < b:
                _pack_part(table[index], op[FIRST + 4] != 0, rows, at_row, x[at_row], a, b)


@njit
def _add_part(part: Any, is_q80: bool, rows: int, row: int, x: Any, start: int, stop: int) -> None:
    first = part[FIRST_COLUMN]
    if is_q80:
        packed = _q80_row(part, rows, row)
        for column in range(start, stop, BLOCK):
            at = (column - first) // BLOCK * _Q80_BYTES
            add_block(packed, at + 2, _scale(packed, at), x, column)
    else:
        values = _f32_rows(part, rows)
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


@operation
def reduce(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """x, width, first column, out, n, parts, n_parts, is_q80: out (rows, n) = x's columns + parts.

    The parts, of n columns each, are added in the order of their table to n columns of x
    (rows, width). Items are pieces of rows.
    """
    op = fields(op_at)
    column, n, n_parts = op[FIRST + 2], op[FIRST + 4], op[FIRST + 6]
    x, out = f32(op[FIRST], rows, op[FIRST + 1]), f32(op[FIRST + 3], rows, n)
    table = _table(op[FIRST + 5], n_parts)
    per_row = pieces(n)
    for item in range(first, last):
        at_row, start = item // per_row, item % per_row * PIECE
        stop = min(n, start + PIECE)
        for i in range(start, stop):
            out[at_row, i] = x[at_row, column + i]
        for index in range(n_parts):
            _add_part(table[index], op[FIRST + 7] != 0, rows, at_row, out[at_row], start, stop)


@njit
def _place_q80(op: Any, part: Any, rows: int, row: int, start: int, stop: int) -> None:
    flags, values, scales, sums, floats = activations(op, FIRST + 2, rows)
    packed, first = _q80_row(part, rows, row), part[FIRST_COLUMN]
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
                values = _f32_rows(part, rows)
                for i in range(a, b):
                    floats[at_row, i] = values[at_row, i - part[FIRST_COLUMN]]
