"""Q80 weights times Q80 inputs as LLVM vector code: eight rows at a time, one lane each.

Rows stand one behind the other, as in files. A block of eight rows, 8 x 32 bytes, is turned in
registers, so that a vector has four columns of each row, and then multiplied as in `q40`: sums of
integers are exact, whatever the variant, and blocks are added in order, multiplied, then added.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels import reading
from dllama_engine.kernels.llvm.vectors import (
    F32,
    I8,
    I16,
    I32,
    Builder,
    Value,
    at,
    at_most,
    fetch,
    halves_to_floats,
    load,
    scaled,
    splat,
)
from dllama_engine.kernels.matmul.dots import SIGNED_DOTS
from dllama_engine.tables.blocks import BLOCK, LANES

_INTS = ir.VectorType(I32, LANES)
_FLOATS = ir.VectorType(F32, LANES)
_BYTES = ir.VectorType(I8, BLOCK)
_HALVES = ir.VectorType(I16, LANES)
TILE = 4  # tokens that share one reading of the weights


class Q80Tile:
    """Writes the code for eight rows and some tokens.

    Args:
        builder: where to write.
        which: the variant.
        n_tokens: tokens of the tile.
    """

    def __init__(self, builder: Builder, which: str, n_tokens: int) -> None:
        self.builder, self.which, self.n_tokens = builder, which, n_tokens
        self.dot = SIGNED_DOTS[which]

    def emit(
        self, arrays: dict[str, Value], rows: list[Value], tokens: list[Value], n_blocks: Value
    ) -> list[Value]:
        """The tile's sums: a vector of float lanes a token, a lane a row.

        Args:
            arrays: byte pointers to weights, deltas, values, scales and sums.
            rows: eight rows.
            tokens: the tile's tokens.
            n_blocks: blocks of a row.
        """
        builder = self.builder
        zero = ir.Constant(_FLOATS, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in tokens]
        starts = [builder.mul(row, n_blocks) for row in rows]
        with cgutils.for_range(builder, n_blocks) as loop:
            places = [builder.add(start, loop.index) for start in starts]
            columns, deltas = self._columns(arrays, places), self._deltas(arrays, places)
            for token, total in zip(tokens, totals, strict=True):
                place = builder.add(builder.mul(token, n_blocks), loop.index)
                scale = load(builder, at(builder, arrays["scales"], scaled(builder, place, 4)), F32)
                factors = builder.fmul(deltas, splat(builder, scale, LANES))
                product = builder.fmul(self._block(arrays, columns, place), factors)
                builder.store(builder.fadd(builder.load(total), product), total)
        return [builder.load(total) for total in totals]

    def _columns(self, arrays: dict[str, Value], places: list[Value]) -> list[Value]:
        """Eight vectors: the block's columns 4c to 4c + 3 of each row."""
        builder, vectors = self.builder, []
        for place in places:
            pointer = at(builder, arrays["weights"], scaled(builder, place, BLOCK))
            if self.n_tokens == 1:  # bound by memory
                for n_bytes, level in reading.ahead():
                    fetch(builder, pointer, n_bytes, level)
            vectors.append(load(builder, pointer, _INTS))
        return [builder.bitcast(vector, _BYTES) for vector in turned(builder, vectors)]

    def _deltas(self, arrays: dict[str, Value], places: list[Value]) -> Value:
        builder = self.builder
        bits: Value = ir.Constant(_HALVES, ir.Undefined)
        for lane, place in enumerate(places):
            delta = load(builder, at(builder, arrays["deltas"], scaled(builder, place, 2)), I16)
            bits = builder.insert_element(bits, delta, ir.Constant(I32, lane))
        return halves_to_floats(builder, bits, self.which)

    def _block(self, arrays: dict[str, Value], columns: list[Value], place: Value) -> Value:
        """The rows' integer sums with the block of values at `place`, as floats."""
        builder, steps = self.builder, []
        values = at(builder, arrays["values"], scaled(builder, place, BLOCK))
        for index, column in enumerate(columns):
            four = load(builder, at(builder, values, 4 * index), I32)
            steps.append((column, splat(builder, four, LANES)))
        start = load(builder, at(builder, arrays["sums"], scaled(builder, place, 4)), I32)
        total = self.dot(builder, steps, splat(builder, start, LANES))
        return builder.sitofp(total, _FLOATS)


def turned(builder: Builder, rows: list[Value]) -> list[Value]:
    """Eight vectors of eight lanes with rows and columns exchanged."""

    def mixed(a: Value, b: Value, *lanes: int) -> Value:
        return builder.shuffle_vector(a, b, ir.Constant(_INTS, lanes))

    low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
    pairs = [mixed(rows[i], rows[i + 1], *lanes) for i in range(0, 8, 2) for lanes in (low, high)]
    low, high = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    fours = [
        mixed(pairs[i + half], pairs[i + half + 2], *lanes)
        for i in (0, 4)
        for half in (0, 1)
        for lanes in (low, high)
    ]
    low, high = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)
    return [mixed(fours[i], fours[i + 4], *lanes) for lanes in (low, high) for i in range(4)]


def _tile(
    typingctx: Any, which: Any, n_tokens: Any,
    inputs: Any, out: Any, row: Any, distance: Any, last: Any, token: Any,
) -> Any:  # fmt: skip
    """An intrinsic: out (tokens, rows) of rows `row`, `row + distance`, ... before `last`.

    `which` and `n_tokens` must be constants; inputs are the first four arguments of `q80_q80` and
    what the sums start from. Rows and tokens behind the last are the last once more.
    """
    constants = (which, n_tokens)
    if not all(isinstance(value, types.Literal) for value in constants):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        names = ("weights", "deltas", "values", "scales", "sums")
        found = {
            name: context.make_array(kind)(context, builder, value)
            for name, kind, value in zip(
                names, signature.args[2], cgutils.unpack_tuple(builder, args[2]), strict=True
            )
        }
        target = context.make_array(signature.args[3])(context, builder, args[3])
        row, distance, last, token = args[4:]
        total_tokens, n_blocks = cgutils.unpack_tuple(builder, found["scales"].shape)
        width = cgutils.unpack_tuple(builder, target.shape)[1]
        one = ir.Constant(row.type, 1)
        end, end_token = builder.sub(last, one), builder.sub(total_tokens, one)
        rows = [
            at_most(builder, builder.add(row, scaled(builder, distance, i)), end)
            for i in range(LANES)
        ]
        tokens = [
            at_most(builder, builder.add(token, ir.Constant(row.type, i)), end_token)
            for i in range(n_tokens.literal_value)
        ]
        arrays = {
            name: builder.bitcast(array.data, I8.as_pointer()) for name, array in found.items()
        }
        tile = Q80Tile(builder, which.literal_value, n_tokens.literal_value)
        for of_token, total in zip(tokens, tile.emit(arrays, rows, tokens, n_blocks), strict=True):
            for lane, of_row in enumerate(rows):
                place = builder.add(builder.mul(of_token, width), of_row)
                value = builder.extract_element(total, ir.Constant(I32, lane))
                builder.store(value, builder.gep(target.data, [place]))
        return context.get_dummy_value()

    return types.void(*constants, inputs, out, *[types.intp] * 4), codegen


_sum_tile: Any = intrinsic(prefer_literal=True)(_tile)


@njit(nogil=True)
def _starts(values: Any, factor: int, sums: Any) -> None:
    """Sums int32 (tokens, n / 32): factor times each block's sum of values int8 (tokens, n)."""
    for token in range(sums.shape[0]):
        for block in range(sums.shape[1]):
            total = np.int32(0)
            for i in range(block * BLOCK, (block + 1) * BLOCK):
                total = np.int32(total + np.int32(values[token, i]))
            sums[token, block] = np.int32(factor) * total


def make_q80_q80(which: str) -> Any:
    """The product for one variant, a nogil kernel; its name is part of the key of numba's cache."""
    # VNNI multiplies unsigned weights, 128 more than they are.
    factor = -128 if which == "vnni" else 0

    @njit(nogil=True, cache=True)
    def q80_q80(
        weights: Any, deltas: Any, values: Any, scales: Any, out: Any, first: int, last: int
    ) -> None:
        """Q80 weights, Q80 input, rows [first, last).

        Args:
            weights: int8 (rows, n / 32, 32).
            deltas: half-precision bits uint16 (rows, n / 32).
            values: int8 (tokens, n).
            scales: float32 (tokens, n / 32).
            out: float32 (tokens, rows), columns first to last written.
            first: first row.
            last: one past the last row.
        """
        n_tokens = values.shape[0]
        sums = np.zeros(scales.shape, np.int32)
        if factor != 0:
            _starts(values, factor, sums)
        inputs = (weights, deltas, values, scales, sums)
        distance = (last - first + LANES - 1) // LANES
        for row in range(first, first + distance):
            if n_tokens == 1:
                _sum_tile(which, 1, inputs, out, row, distance, last, 0)
            else:
                for token in range(0, n_tokens, TILE):
                    _sum_tile(which, TILE, inputs, out, row, distance, last, token)

    return q80_q80
