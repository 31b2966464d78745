"""Matrix products, y = x W^T, over rows [first, last) of W: all but Q40 x Q80, which is `q40`.

Each output is one row's sum in one order, whatever the other rows, so that a row's result does
not depend on how rows are spread over ranks, threads or tiles.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from dllama_engine.kernels.cpu import variant
from dllama_engine.kernels.llvm.bits import f16_to_f32
from dllama_engine.kernels.matmul.float_tiles import LANES, TILES, float_tile
from dllama_engine.kernels.matmul.q80 import make_q80_q80


def make_float_product(which: str, kind: str) -> Any:
    """A product with float32 inputs, a nogil kernel (weights, deltas, x, out, first, last).

    `which` and `kind` are part of the key of numba's cache. Args of the kernel:
        weights: float32 (rows, n) for f32; half-precision bits uint16 (rows, n) for f16;
            int8 (rows, n / 32, 32) for q80; packed as in `q40` for q40, n whole blocks.
        deltas: half-precision bits uint16, (rows, n / 32) or as in `q40`; else not read.
        x: float32 (tokens, n), whole steps of `float_tiles` read.
        out: float32 (tokens, rows), columns first to last written.
        first: first row, for q40 a multiple of 8.
        last: one past the last row.
    """
    (tile_rows, tile_tokens), (rows, _) = TILES[which]
    in_groups = kind == "q40"  # whose rows stand side by side, so that a tile takes neighbours

    @njit(nogil=True, cache=True)
    def product(weights: Any, deltas: Any, x: Any, out: Any, first: int, last: int) -> None:
        inputs, n_tokens = (weights, deltas, x), x.shape[0]
        height = rows if n_tokens == 1 else tile_rows
        tiles = (last - first + height - 1) // height
        for tile in range(tiles):
            row, distance = (first + tile * height, 1) if in_groups else (first + tile, tiles)
            if n_tokens == 1:
                float_tile(which, kind, rows, 1, inputs, out, row, distance, last, 0)
            else:
                for token in range(0, n_tokens, tile_tokens):
                    float_tile(
                        which, kind, tile_rows, tile_tokens,
                        inputs, out, row, distance, last, token,
                    )  # fmt: skip

    return product


_f32: Any = make_float_product(variant(), "f32")
_f16: Any = make_float_product(variant(), "f16")
q40_f32: Any = make_float_product(variant(), "q40")
q80_f32: Any = make_float_product(variant(), "q80")
q80_q80: Any = make_q80_q80(variant())


@njit(cache=True, nogil=True)
def f32_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights float32 (rows, n), input float32 (tokens, n)."""
    _f32(weights, weights, x, out, first, last)
    n = x.shape[1]
    for i in range(n - n % LANES, n):  # the rest of less than eight columns, one by one
        for token in range(x.shape[0]):
            for row in range(first, last):
                out[token, row] += weights[row, i] * x[token, i]


@njit(cache=True, nogil=True)
def f16_f32(weights: Any, x: Any, out: Any, first: int, last: int) -> None:
    """Weights half-precision bits uint16 (rows, n), input float32 (tokens, n)."""
    _f16(weights, weights, x, out, first, last)
    n = x.shape[1]
    for i in range(n - n % LANES, n):
        for token in range(x.shape[0]):
            for row in range(first, last):
                out[token, row] += f16_to_f32(weights[row, i]) * x[token, i]
