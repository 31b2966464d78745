"""Several queries against the same keys, and several sums of the same values, as LLVM vector code.

A tile is what registers hold: each key is loaded once for all queries of the tile, each row of
values once for all of its sums. Each sum has the lanes and the order that `lanes.dots` and
`lanes.add_weighted` give it alone, so that neither a tile's shape nor the width of registers shows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.cpu import variant
from dllama_engine.kernels.llvm import vectors
from dllama_engine.kernels.llvm.lanes import LANES, add_weighted, dots, fold_together
from dllama_engine.kernels.llvm.vectors import F32, I8, Builder, Value, at, load, scaled

_WIDE = variant() == "vnni"  # registers of 64 bytes, and 32 of them
SIDE_BY_SIDE = 2 if _WIDE else 1  # queries whose eight lanes share a register
KEYS = 8 if _WIDE else 4  # of a tile of products
_QUERIES = 2 * SIDE_BY_SIDE  # of the same
_SUMS, _COLUMNS = 4, 64 if _WIDE else 16  # of a tile of sums
_FEWER, _MORE = 2, 64 if _WIDE else 32  # of one for the last two sums


class _Matrix:
    """An array float32 (rows, width) as code that is written reads it."""

    def __init__(self, context: Any, builder: Builder, kind: Any, value: Value) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder = builder
        self._data = builder.bitcast(array.data, I8.as_pointer())
        self.rows, self.width = cgutils.unpack_tuple(builder, array.shape)

    def at(self, row: Value, column: Value) -> Value:
        """Where that element is."""
        index = self._builder.add(self._builder.mul(row, self.width), column)
        return at(self._builder, self._data, scaled(self._builder, index, 4))


def _behind(builder: Builder, first: Value, count: int, step: int = 1) -> list[Value]:
    """`count` numbers from `first` on."""
    return [builder.add(first, ir.Constant(first.type, step * i)) for i in range(count)]


def _add_product(builder: Builder, a: Value, b: Value, total: Value) -> None:
    """What `total` points to += a * b, fused."""
    name = f"llvm.fma.v{a.type.count}f32"
    builder.store(vectors.call(builder, name, a.type, a, b, builder.load(total)), total)


def _store(builder: Builder, value: Value, place: Value) -> None:
    builder.store(value, builder.bitcast(place, value.type.as_pointer()), align=4)


def _tile_products(
    typingctx: Any, count: Any, packed: Any, query: Any, keys: Any, key: Any, out: Any, column: Any
) -> Any:
    """An intrinsic: out[query + q, column + k] = packed query `query` + q times keys[key + k].

    q counts `count`, a constant multiple of SIDE_BY_SIDE, and k KEYS. All are float32 of two
    dimensions, the queries packed as `pack` does.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        queries, rows, target = (
            _Matrix(context, builder, signature.args[i], args[i]) for i in (1, 3, 5)
        )
        eight, kind = ir.VectorType(F32, LANES), ir.VectorType(F32, LANES * SIDE_BY_SIDE)
        zero, step = ir.Constant(args[2].type, 0), ir.Constant(args[2].type, LANES)
        registers = _behind(builder, args[2], count.literal_value // SIDE_BY_SIDE, SIDE_BY_SIDE)
        nothing = vectors.constant(kind, 0.0)
        totals = [
            [cgutils.alloca_once_value(builder, nothing) for _ in range(KEYS)] for _ in registers
        ]
        of_queries = [queries.at(register, zero) for register in registers]
        of_keys = [rows.at(row, zero) for row in _behind(builder, args[4], KEYS)]
        with cgutils.for_range_slice(builder, zero, rows.width, step, inc=True) as (index, _):
            offset = scaled(builder, index, 4)
            across = scaled(builder, offset, SIDE_BY_SIDE)
            shared = [load(builder, at(builder, place, across), kind) for place in of_queries]
            for i, place in enumerate(of_keys):
                loaded = load(builder, at(builder, place, offset), eight)
                if SIDE_BY_SIDE > 1:
                    loaded = vectors.joined(builder, loaded, loaded)
                for register, of_register in zip(shared, totals, strict=True):
                    _add_product(builder, register, loaded, of_register[i])
        for register, of_register in zip(registers, totals, strict=True):
            sums = fold_together(builder, [builder.load(total) for total in of_register])
            of_each = vectors.parts(builder, sums, KEYS)
            for row, part in zip(_behind(builder, register, SIDE_BY_SIDE), of_each, strict=True):
                _store(builder, part, target.at(row, args[6]))
        return context.get_dummy_value()

    return types.void(count, packed, types.intp, keys, types.intp, out, types.intp), codegen


def _tile_sums(
    typingctx: Any, count: Any, columns: Any,
    weights: Any, query: Any, first: Any, rows: Any, out: Any, column: Any,
) -> Any:  # fmt: skip
    """An intrinsic: out[query + q, column + j] += weight q of row i times rows[i, column + j].

    i in turn; q counts `count` and j `columns`, both constants. All are float32 of two dimensions;
    weight q of row i is weights[query + q, first + i].
    """
    if not all(isinstance(value, types.IntegerLiteral) for value in (count, columns)):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight, row, target = (
            _Matrix(context, builder, signature.args[i], args[i]) for i in (2, 5, 6)
        )
        lanes = min(LANES * SIDE_BY_SIDE, columns.literal_value)
        kind, zero = ir.VectorType(F32, lanes), ir.Constant(args[3].type, 0)
        queries = _behind(builder, args[3], count.literal_value)
        steps = _behind(builder, args[7], columns.literal_value // lanes, lanes)
        places = [[target.at(query, step) for step in steps] for query in queries]
        totals = [
            [cgutils.alloca_once_value(builder, load(builder, place, kind)) for place in of_query]
            for of_query in places
        ]
        factors = [weight.at(query, args[4]) for query in queries]
        of_values = [row.at(zero, step) for step in steps]
        with cgutils.for_range(builder, row.rows) as loop:
            offset = scaled(builder, loop.index, 4)
            across = builder.mul(offset, row.width)
            values = [load(builder, at(builder, place, across), kind) for place in of_values]
            for factor, of_query in zip(factors, totals, strict=True):
                one = load(builder, at(builder, factor, offset), F32)
                shared = vectors.splat(builder, one, lanes)
                for value, total in zip(values, of_query, strict=True):
                    _add_product(builder, shared, value, total)
        for of_query, where in zip(totals, places, strict=True):
            for total, place in zip(of_query, where, strict=True):
                _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    of = (types.intp, types.intp, rows, out, types.intp)
    return types.void(count, columns, weights, *of), codegen


def _eights(
    typingctx: Any, x: Any, first: Any, n: Any, out: Any, out_first: Any, distance: Any
) -> Any:
    """An intrinsic: n elements of x from `first` on -> out, every eight so far from those before.

    Both are float32; places count elements from an array's begin, n is a multiple of 8.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (
            at(
                builder,
                builder.bitcast(
                    context.make_array(signature.args[i])(context, builder, args[i]).data,
                    I8.as_pointer(),
                ),
                scaled(builder, args[i + 1], 4),
            )
            for i in (0, 3)
        )
        zero, step = ir.Constant(args[2].type, 0), ir.Constant(args[2].type, LANES)
        with cgutils.for_range_slice(builder, zero, args[2], step, inc=True) as (index, number):
            place = at(builder, source, scaled(builder, index, 4))
            value = load(builder, place, ir.VectorType(F32, LANES))
            to = scaled(builder, builder.mul(number, args[5]), 4)
            _store(builder, value, at(builder, target, to))
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, out, types.intp, types.intp), codegen


_products: Any = intrinsic(prefer_literal=True)(_tile_products)
_sums: Any = intrinsic(prefer_literal=True)(_tile_sums)
copy_eights: Any = intrinsic(_eights)


@njit(nogil=True)
def pack(q: Any, at: int, packed: Any, query: int) -> None:
    """Put a query, q[at ...], into packed (queries, width) as number `query`; width in eights.

    Where a register holds two queries, they take turns, eight elements each.
    """
    width, place = packed.shape[1], query % SIDE_BY_SIDE
    first = (query - place) * width + place * LANES
    copy_eights(q, at, width, packed, first, LANES * SIDE_BY_SIDE)


@njit(nogil=True)
def products(packed: Any, keys: Any, out: Any, start: int) -> None:
    """out[q, start + i] = the product of query q and keys[i], as `lanes.dots`.

    Args:
        packed: float32 (queries, width) by `pack`, queries a multiple of SIDE_BY_SIDE.
        keys: float32 (n, width), n at least KEYS.
        out: float32 (queries, some).
        start: column of out.
    """
    n, n_queries = keys.shape[0], packed.shape[0]
    in_tiles = n_queries - n_queries % _QUERIES
    for key in range(0, n, KEYS):
        key = min(key, n - KEYS)  # some twice, with the same result
        for query in range(0, in_tiles, _QUERIES):
            _products(_QUERIES, packed, query, keys, key, out, start + key)
        if SIDE_BY_SIDE > 1 and in_tiles < n_queries:
            _products(SIDE_BY_SIDE, packed, in_tiles, keys, key, out, start + key)
    if SIDE_BY_SIDE == 1 and in_tiles < n_queries:
        dots(packed[in_tiles], 0, keys, out[in_tiles], start)


@njit(inline="always")
def _add_to(
    count: int, columns: int, weights: Any, query: int, start: int, rows: Any, out: Any
) -> None:
    width = rows.shape[1]
    whole = width - width % columns
    for column in range(0, whole, columns):
        _sums(count, columns, weights, query, start, rows, out, column)
    for column in range(whole, width, LANES):
        _sums(count, LANES, weights, query, start, rows, out, column)


@njit(nogil=True)
def add_products(weights: Any, start: int, rows: Any, out: Any) -> None:
    """out[q] += weights[q, start ...] times rows (n, width), as `lanes.add_weighted`.

    Args:
        weights: float32 (queries, some).
        start: column of the first row's weight.
        rows: float32 (n, width), width a multiple of 8.
        out: float32 (queries, width).
    """
    n_queries, query = weights.shape[0], 0
    while query + _SUMS <= n_queries:
        _add_to(_SUMS, _COLUMNS, weights, query, start, rows, out)
        query += _SUMS
    if query + _FEWER <= n_queries:
        _add_to(_FEWER, _MORE, weights, query, start, rows, out)
        query += _FEWER
    if query < n_queries:
        add_weighted(weights[query], start, rows, out[query], 0)
