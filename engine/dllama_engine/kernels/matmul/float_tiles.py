"""Products with float32 inputs as LLVM vector code: a tile of rows times a tile of tokens.

Each sum keeps eight lanes and folds them at the end in the order of `lanes.dot`, so that the tile's
shape and the width of registers do not show in a result. With 64-byte registers two rows stand one
behind the other. Weights are widened to float32 as they are read, once for all tokens of the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
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
    call,
    constant,
    fetch,
    halves_to_floats,
    joined,
    load,
    parts,
    scaled,
    splat,
)
from dllama_engine.tables.blocks import BLOCK

LANES = 8  # lanes a sum
_ROWS_A_GROUP = 8  # of Q40, packed as in `q40`
# Rows and tokens of a tile, what registers hold; one token reads many rows, which memory likes.
TILES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "vnni": ((8, 4), (8, 1)),
    "avx2": ((2, 4), (8, 1)),
    "dotprod": ((2, 4), (4, 1)),
    "neon": ((2, 4), (4, 1)),
    "generic": ((2, 4), (4, 1)),
}
_ROWS_A_REGISTER = {"vnni": 2}
COLUMNS_A_STEP = {"f32": LANES, "f16": LANES, "q80": BLOCK, "q40": BLOCK}

_EIGHT_BYTES = ir.VectorType(I8, LANES)
_EIGHT_HALVES = ir.VectorType(I16, LANES)
_EIGHT_FLOATS = ir.VectorType(F32, LANES)


class FloatTile:
    """Writes the code for some rows and some tokens.

    Args:
        builder: where to write.
        which: the variant.
        n_rows: rows of the tile.
        n_tokens: tokens of the tile.
    """

    def __init__(self, builder: Builder, which: str, n_rows: int, n_tokens: int) -> None:
        self.builder, self.which = builder, which
        self.n_rows, self.n_tokens = n_rows, n_tokens
        self.a_register = _ROWS_A_REGISTER.get(which, 1)
        self.floats = ir.VectorType(F32, LANES * self.a_register)
        self.ints = ir.VectorType(I32, LANES * self.a_register)

    def registers(self, of_rows: list[Value]) -> list[Value]:
        """Vectors of eight, one a row, as they stand in registers."""
        if self.a_register == 1:
            return of_rows
        pairs = zip(of_rows[::2], of_rows[1::2], strict=True)
        return [joined(self.builder, low, high) for low, high in pairs]

    def f32(
        self, arrays: dict[str, Value], rows: list[Value], n: Value, step: Value
    ) -> list[list[Value]]:
        """Weights float32 (rows, n); a step is 8 columns."""
        return self._plain(arrays["weights"], rows, n, step, 4, self._eight_floats)

    def f16(
        self, arrays: dict[str, Value], rows: list[Value], n: Value, step: Value
    ) -> list[list[Value]]:
        """Weights half-precision bits (rows, n); a step is 8 columns."""
        return self._plain(arrays["weights"], rows, n, step, 2, self._eight_halves)

    def _eight_floats(self, pointer: Value) -> Value:
        return load(self.builder, pointer, _EIGHT_FLOATS)

    def _eight_halves(self, pointer: Value) -> Value:
        return halves_to_floats(
            self.builder, load(self.builder, pointer, _EIGHT_HALVES), self.which
        )

    def _plain(
        self,
        weights: Value,
        rows: list[Value],
        n: Value,
        step: Value,
        item_bytes: int,
        eight: Callable[[Value], Value],
    ) -> list[list[Value]]:
        builder, loaded = self.builder, []
        for row in rows:
            place = builder.add(builder.mul(row, n), scaled(builder, step, LANES))
            pointer = at(builder, weights, scaled(builder, place, item_bytes))
            self.ahead(pointer)
            loaded.append(eight(pointer))
        return [self.registers(loaded)]

    def q80(
        self, arrays: dict[str, Value], rows: list[Value], n: Value, step: Value
    ) -> list[list[Value]]:
        """Weights int8 (rows, n), deltas (rows, n / 32); a step is a block."""
        builder = self.builder
        n_blocks = builder.udiv(n, ir.Constant(n.type, BLOCK))
        places = [builder.add(builder.mul(row, n_blocks), step) for row in rows]
        pointers = [
            at(builder, arrays["weights"], scaled(builder, place, BLOCK)) for place in places
        ]
        for pointer in pointers:
            self.ahead(pointer)
        deltas = [self._delta(at(builder, arrays["deltas"], scaled(builder, p, 2))) for p in places]
        vectors = []
        for start in range(0, BLOCK, LANES):
            values = [load(builder, at(builder, p, start), _EIGHT_BYTES) for p in pointers]
            signed = [builder.sext(value, self.ints) for value in self.registers(values)]
            vectors.append(self._times(signed, self.registers(deltas)))
        return vectors

    def q40(
        self, arrays: dict[str, Value], rows: list[Value], n: Value, step: Value
    ) -> list[list[Value]]:
        """Weights and deltas packed as in `q40`, rows side by side in one group; a step is a block.

        A vector of the packed block has four columns of each row; two vectors give eight.
        """
        builder, kind = self.builder, ir.VectorType(I32, self.n_rows)
        n_blocks = builder.udiv(n, ir.Constant(n.type, BLOCK))
        in_group = ir.Constant(n.type, _ROWS_A_GROUP)
        group, lane = builder.udiv(rows[0], in_group), builder.urem(rows[0], in_group)
        place = builder.add(builder.mul(group, n_blocks), step)
        block_at = at(builder, arrays["weights"], scaled(builder, place, 4 * BLOCK))
        pointer = at(builder, block_at, scaled(builder, lane, 4))
        self.ahead(block_at)
        self.ahead(at(builder, block_at, 64))
        delta_at = at(builder, arrays["deltas"], scaled(builder, place, 2 * _ROWS_A_GROUP))
        delta_at = at(builder, delta_at, scaled(builder, lane, 2))
        deltas = self.registers(
            [self._delta(at(builder, delta_at, 2 * row)) for row in range(self.n_rows)]
        )
        vectors: list[list[Value]] = []
        for shift in (0, 4):
            for pair in (0, 2):  # vectors of the block
                fours = [
                    load(builder, at(builder, pointer, BLOCK * (pair + i)), kind) for i in (0, 1)
                ]
                vectors.append(self._times(self._nibbles(fours, shift), deltas))
        return vectors

    def _nibbles(self, fours: list[Value], shift: int) -> list[Value]:
        """Eight columns of each row as integers, from two vectors with four columns of each."""
        builder = self.builder
        mask = [i + self.n_rows * j for i in range(self.n_rows) for j in (0, 1)]
        eights = builder.shuffle_vector(
            *fours, ir.Constant(ir.VectorType(I32, 2 * self.n_rows), mask)
        )
        packed = builder.bitcast(eights, ir.VectorType(I8, LANES * self.n_rows))
        kind = packed.type
        moved = builder.lshr(packed, constant(kind, shift)) if shift else packed
        found = builder.and_(moved, constant(kind, 15))
        centred = builder.sub(found, constant(kind, 8))
        pieces = parts(builder, centred, LANES * self.a_register)
        return [builder.sext(piece, self.ints) for piece in pieces]

    def _delta(self, pointer: Value) -> Value:
        """A row's delta in eight lanes."""
        builder = self.builder
        bits = splat(builder, load(builder, pointer, I16), LANES)
        return halves_to_floats(builder, bits, self.which)

    def _times(self, ints: list[Value], deltas: list[Value]) -> list[Value]:
        builder = self.builder
        return [
            builder.fmul(builder.sitofp(value, self.floats), delta)
            for value, delta in zip(ints, deltas, strict=True)
        ]

    def ahead(self, pointer: Value) -> None:
        """One token is bound by memory; many read what the first has brought."""
        if self.n_tokens == 1:
            for n_bytes, level in reading.ahead():
                fetch(self.builder, pointer, n_bytes, level)

    def emit(
        self, kind: str, arrays: dict[str, Value], rows: list[Value], tokens: list[Value], n: Value
    ) -> list[list[Value]]:
        """Sums by token and row, over the whole steps of n columns.

        Args:
            kind: of the weights: f32, f16, q80 or q40.
            arrays: byte pointers to weights, deltas and x.
            rows: the tile's rows.
            tokens: the tile's tokens.
            n: columns.
        """
        builder, a_step = self.builder, COLUMNS_A_STEP[kind]
        weights_of = {"f32": self.f32, "f16": self.f16, "q80": self.q80, "q40": self.q40}[kind]
        zero = constant(self.floats, 0)
        totals = [
            [
                cgutils.alloca_once_value(builder, zero)
                for _ in range(self.n_rows // self.a_register)
            ]
            for _ in tokens
        ]
        x_at = [at(builder, arrays["x"], scaled(builder, builder.mul(t, n), 4)) for t in tokens]
        with cgutils.for_range(builder, builder.udiv(n, ir.Constant(n.type, a_step))) as loop:
            for index, weights in enumerate(weights_of(arrays, rows, n, loop.index)):
                column = builder.add(
                    scaled(builder, loop.index, a_step), ir.Constant(n.type, LANES * index)
                )
                for pointer, of_token in zip(x_at, totals, strict=True):
                    x = self._input(at(builder, pointer, scaled(builder, column, 4)))
                    self._add(weights, x, of_token)
        return [[row for total in of_token for row in self._folded(total)] for of_token in totals]

    def _input(self, pointer: Value) -> Value:
        eight = self._eight_floats(pointer)
        return eight if self.a_register == 1 else joined(self.builder, eight, eight)

    def _add(self, weights: list[Value], x: Value, totals: list[Value]) -> None:
        builder, name = self.builder, f"llvm.fma.v{self.floats.count}f32"
        for weight, total in zip(weights, totals, strict=True):
            before = builder.load(total)
            builder.store(call(builder, name, self.floats, weight, x, before), total)

    def _folded(self, total: Value) -> list[Value]:
        """One sum a row: lanes i and i + 4, then i and i + 2, then the last two."""
        builder, sums = self.builder, []
        for vector in parts(builder, builder.load(total), LANES):
            while vector.type.count > 1:
                low, high = parts(builder, vector, vector.type.count // 2)
                vector = builder.fadd(low, high)
            sums.append(builder.extract_element(vector, ir.Constant(I32, 0)))
        return sums


def _tile(
    typingctx: Any, which: Any, kind: Any, n_rows: Any, n_tokens: Any,
    inputs: Any, out: Any, row: Any, distance: Any, last: Any, token: Any,
) -> Any:  # fmt: skip
    """An intrinsic: out (tokens, rows) of rows `row`, `row + distance`, ... before `last`.

    `which`, `kind`, `n_rows` and `n_tokens` must be constants; inputs are weights, deltas and x
    (tokens, n), the tokens those from `token` on. What lies behind the last row or token is
    computed from the last one once more, as a tile has one shape.
    """
    constants = (which, kind, n_rows, n_tokens)
    if not all(isinstance(value, types.Literal) for value in constants):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        which_, kind_, rows_, tokens_ = (value.literal_value for value in constants)
        values = cgutils.unpack_tuple(builder, args[4])
        weights, deltas, x = (
            context.make_array(of)(context, builder, value)
            for of, value in zip(signature.args[4], values, strict=True)
        )
        target = context.make_array(signature.args[5])(context, builder, args[5])
        row, distance, last, token = args[6:]
        total_tokens, n = cgutils.unpack_tuple(builder, x.shape)
        width = cgutils.unpack_tuple(builder, target.shape)[1]
        one = ir.Constant(n.type, 1)
        end, end_token = builder.sub(last, one), builder.sub(total_tokens, one)
        rows = [builder.add(row, scaled(builder, distance, i)) for i in range(rows_)]
        tokens = [builder.add(token, ir.Constant(n.type, i)) for i in range(tokens_)]
        tokens = [at_most(builder, token, end_token) for token in tokens]
        if kind_ != "q40":  # whose groups are padded with zeros
            rows = [at_most(builder, row, end) for row in rows]
        arrays = {
            name: builder.bitcast(array.data, I8.as_pointer())
            for name, array in (("weights", weights), ("deltas", deltas), ("x", x))
        }
        sums = FloatTile(builder, which_, rows_, tokens_).emit(kind_, arrays, rows, tokens, n)
        for of_token, of_rows in zip(tokens, sums, strict=True):
            for of_row, total in zip(rows, of_rows, strict=True):
                place = builder.add(builder.mul(of_token, width), of_row)
                with builder.if_then(builder.icmp_signed("<", of_row, last)):
                    builder.store(total, builder.gep(target.data, [place]))
        return context.get_dummy_value()

    return types.void(*constants, inputs, out, *[types.intp] * 4), codegen


float_tile: Any = intrinsic(prefer_literal=True)(_tile)
