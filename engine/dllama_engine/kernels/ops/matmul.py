"""Matrix products by address, one for each kind of weights and input, and their operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.matmul import variants
from dllama_engine.kernels.matmul.q40 import q40_q80 as _q40_q80
from dllama_engine.kernels.ops.compiled import Compiled, caller, operation
from dllama_engine.kernels.ops.table import f32, fields
from dllama_engine.tables.operations import FIRST

_ARGUMENTS = 12

call_product: Any = caller(_ARGUMENTS)


def _product(function: Callable[..., None]) -> Compiled:
    """Rows [first, last) of out (tokens, rows) = x W^T.

    Arguments: addresses of the packed weights, of their scales, of x's values, scales, sums and
    floats, and of out; then tokens, rows, columns; first row, one past the last row.
    """
    return Compiled(function, _ARGUMENTS)


@njit(inline="always")
def _u16(address: Any, shape: Any) -> Any:
    return carray(pointer(address), shape, np.uint16)


@njit(inline="always")
def _q40(address: Any, deltas: Any, rows: Any, n: Any) -> Any:
    groups, blocks = (rows + 7) // 8, n // 32
    packed = carray(pointer(address), (groups, blocks, 4, 32), np.uint8)
    return packed, _u16(deltas, (groups, blocks, 8))


@njit(inline="always")
def _q80(address: Any, deltas: Any, rows: Any, n: Any) -> Any:
    weights = carray(pointer(address), (rows, n // 32, 32), np.int8)
    return weights, _u16(deltas, (rows, n // 32))


@_product
def q40_q80(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """Q40 x Q80."""
    packed, halves = _q40(weights, deltas, rows, n)
    x = carray(pointer(values), (tokens, n), np.int8)
    block_sums = carray(pointer(sums), (tokens, n // 32), np.int32)
    x_scales = f32(scales, tokens, n // 32)
    _q40_q80(packed, halves, x, x_scales, block_sums, f32(out, tokens, rows), first, last)


@_product
def q80_q80(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """Q80 x Q80."""
    packed, halves = _q80(weights, deltas, rows, n)
    x = carray(pointer(values), (tokens, n), np.int8)
    x_scales = f32(scales, tokens, n // 32)
    variants.q80_q80(packed, halves, x, x_scales, f32(out, tokens, rows), first, last)


@_product
def q40_f32(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """Q40 x f32."""
    packed, halves = _q40(weights, deltas, rows, n)
    variants.q40_f32(packed, halves, f32(floats, tokens, n), f32(out, tokens, rows), first, last)


@_product
def q80_f32(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """Q80 x f32."""
    packed, halves = _q80(weights, deltas, rows, n)
    variants.q80_f32(packed, halves, f32(floats, tokens, n), f32(out, tokens, rows), first, last)


@_product
def f16_f32(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """F16 x f32."""
    halves, x = _u16(weights, (rows, n)), f32(floats, tokens, n)
    variants.f16_f32(halves, x, f32(out, tokens, rows), first, last)


@_product
def f32_f32(
    weights: int, deltas: int, values: int, scales: int, sums: int, floats: int,
    out: int, tokens: int, rows: int, n: int, first: int, last: int,
) -> None:  # fmt: skip
    """F32 x f32."""
    whole, x = f32(weights, rows, n), f32(floats, tokens, n)
    variants.f32_f32(whole, x, f32(out, tokens, rows), first, last)


@operation
def multiply(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """The product, weights, deltas, n_rows, out; then activations. Items are rows of the matrix."""
    op = fields(op_at)
    at = FIRST + 5
    x = (op[at + 2], op[at + 3], op[at + 4], op[at + 5])
    sizes = (rows, op[FIRST + 3], op[at], first, last)
    call_product(op[FIRST], (op[FIRST + 1], op[FIRST + 2], *x, op[FIRST + 4], *sizes))
