"""How compiled code reads a row of the table of operations: its chunks and its arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm import casts
from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.tables.operations import (
    GRAIN,
    IS_Q80,
    ITEMS,
    ITEMS_A_ROW,
    LARGE,
    LARGE_ITEMS,
    PIECE,
    ROWS_SHIFT,
    TIMES,
    WIDTH,
)


@njit(inline="always")
def fields(address: Any) -> Any:
    """A row of the table."""
    return carray(pointer(address), (WIDTH,), np.int64)


@njit(inline="always")
def _large(op: Any, tokens: int) -> Any:
    """How many larger chunks come first: for one token, whose time is that of reading."""
    return op[LARGE] if tokens == 1 else 0


@njit(inline="always")
def _items(op: Any, tokens: int) -> Any:
    """How many items an operation has."""
    rows = op[TIMES] * tokens
    blocks = (rows + (1 << op[ROWS_SHIFT]) - 1) >> op[ROWS_SHIFT]
    return op[ITEMS] + op[ITEMS_A_ROW] * blocks


@njit(inline="always")
def chunks(op: Any, tokens: int) -> Any:
    """How many chunks an operation has."""
    large = _large(op, tokens)
    small = _items(op, tokens) - large * op[LARGE_ITEMS]
    return large + (small + op[GRAIN] - 1) // op[GRAIN]


@njit(inline="always")
def chunk_items(op: Any, chunk: int, tokens: int) -> Any:
    """Items [first, last) of a chunk."""
    large = _large(op, tokens)
    small = chunk - large
    if small < 0:
        first = chunk * op[LARGE_ITEMS]
        return first, first + op[LARGE_ITEMS]
    first = large * op[LARGE_ITEMS] + small * op[GRAIN]
    return first, min(first + op[GRAIN], _items(op, tokens))


@njit(inline="always")
def pieces(n: int) -> Any:
    """In how many pieces a vector is cut."""
    return (n + PIECE - 1) // PIECE


@njit(inline="always")
def f32(address: Any, rows: Any, cols: Any) -> Any:
    """An array float32 (rows, cols)."""
    return carray(pointer(address), (rows, cols), np.float32)


@njit(inline="always")
def activations(op: Any, at: int, rows: int) -> Any:
    """Activations at fields at, ...: n, flags, values, scales, sums, floats."""
    n, flags = op[at], op[at + 1]
    quantized = n // 32 if flags & IS_Q80 else 0
    values = carray(pointer(op[at + 2]), (rows, n if flags & IS_Q80 else 0), np.int8)
    scales = f32(op[at + 3], rows, quantized)
    sums = carray(pointer(op[at + 4]), (rows, quantized), np.int32)
    floats = f32(op[at + 5], rows, n)
    return flags, values, scales, sums, floats


@njit
def cast(op: Any, at: int, rows: int, x: Any, row: int, first: int, last: int) -> None:
    """Put columns [first, last) of x (n,) into the activations' row `row`."""
    flags, values, scales, sums, floats = activations(op, at, rows)
    if flags & IS_Q80:
        casts.cast_q80(x, values[row], scales[row], sums[row], floats[row], flags, first, last)
    else:
        for i in range(first, last):
            floats[row, i] = x[i]
