"""Sums of float32 products in eight lanes, in the order in which dllama's AVX2 code adds them.

Floating-point sums depend on their order, and Q80's rounding makes a last bit matter. The order
here is fixed, whatever the CPU: lane i takes elements i, i + 8, ...; then lanes i and i + 4 are
added, then i and i + 2, then the last two; a rest of less than eight elements follows one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.llvm.bits import fma

LANES = 8
_I32, _F32 = ir.IntType(32), ir.FloatType()
_FLOATS = ir.VectorType(_F32, LANES)


def _load(builder: Any, array: Any, index: Any) -> Any:
    at = builder.bitcast(builder.gep(array.data, [index]), _FLOATS.as_pointer())
    loaded = builder.load(at)
    loaded.align = 4
    return loaded


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _added(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


def _fma(builder: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v8f32")


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def _fold(builder: Any, vector: Any, join: Any = _added) -> Any:
    """The lanes joined, by default added: halves are joined until one is left."""
    count = LANES
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    while count > 1:
        count //= 2
        mask = ir.Constant(
            ir.VectorType(ir.IntType(32), LANES), [(i + count) % LANES for i in range(LANES)]
        )
        vector = join(builder, vector, builder.shuffle_vector(vector, undefined, mask))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _picked(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Lanes of two vectors, those of b counted on behind those of a."""
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(a, b, mask)


def fold_together(builder: Any, vectors: list[Any]) -> Any:
    """Each of four or eight vectors folded as `_fold` does, side by side in one vector.

    Vectors of sixteen lanes hold two sums each: the first ones of all come first. After the first
    step every four lanes stay among themselves, which is what processors shuffle fastest.
    """
    n, lanes = len(vectors), vectors[0].type.count
    starts = range(0, lanes, 4)
    low = [lane for start in range(0, lanes, LANES) for lane in range(start, start + 4)]
    low += [lane + lanes for lane in low]
    vectors = _joined_in_pairs(builder, vectors[: n // 2], vectors[n // 2 :], low, 4)
    pairs = [lane for start in starts for lane in _two_of_each(start, 1, lanes)]
    vectors = _joined_in_pairs(builder, vectors[::2], vectors[1::2], pairs, 2)
    if len(vectors) == 1:
        return _joined_in_pairs(builder, vectors, vectors, list(range(0, lanes, 2)), 1)[0]
    singles = [lane for start in starts for lane in _two_of_each(start, 2, lanes)]
    (sums,) = _joined_in_pairs(builder, vectors[::2], vectors[1::2], singles, 1)
    if lanes == LANES:
        return sums
    return _picked(builder, sums, sums, [*range(4), *range(8, 12), *range(4, 8), *range(12, 16)])


def _two_of_each(start: int, distance: int, lanes: int) -> list[int]:
    """Two lanes of a vector, the same two of another one."""
    return [start, start + distance, start + lanes, start + distance + lanes]


def _joined_in_pairs(
    builder: Any, firsts: list[Any], seconds: list[Any], lanes: list[int], distance: int
) -> list[Any]:
    """Of every two vectors: these lanes, and those so far behind them added."""
    behind = [lane + distance for lane in lanes]
    return [
        builder.fadd(_picked(builder, a, b, lanes), _picked(builder, a, b, behind))
        for a, b in zip(firsts, seconds, strict=True)
    ]


def _lane_products(typingctx: Any, a: Any, b: Any, n: Any) -> Any:
    """An intrinsic: sum of a[i] * b[i] over the first n elements, n a multiple of 8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:2], args[:2], strict=True)
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * LANES))
        step = ir.Constant(args[2].type, LANES)
        zero = ir.Constant(args[2].type, 0)
        with cgutils.for_range_slice(builder, zero, args[2], step, inc=True) as (index, _):
            products = [_load(builder, x, index), _load(builder, y, index), builder.load(total)]
            builder.store(builder.call(_fma(builder), products), total)
        return _fold(builder, builder.load(total))

    return types.float32(a, b, types.intp), codegen


def _rows_products(
    typingctx: Any, count: Any, a: Any, at: Any, rows: Any, first: Any, out: Any, out_at: Any
) -> Any:
    """An intrinsic: out[out_at + i] = sum of a[at + j] * rows[first + i, j], i < count: 4 or 8.

    a and out are (n,), rows (some, width), width a multiple of 8.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y, target = (
            context.make_array(signature.args[place])(context, builder, args[place])
            for place in (1, 3, 5)
        )
        width = cgutils.unpack_tuple(builder, y.shape)[1]
        zero_sum = ir.Constant(_FLOATS, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero_sum) for _ in range(count.literal_value)]
        starts = [
            builder.mul(width, builder.add(args[4], ir.Constant(width.type, row)))
            for row in range(count.literal_value)
        ]
        step, zero = ir.Constant(width.type, LANES), ir.Constant(width.type, 0)
        with cgutils.for_range_slice(builder, zero, width, step, inc=True) as (index, _):
            shared = _load(builder, x, builder.add(args[2], index))
            for start, total in zip(starts, totals, strict=True):
                other = _load(builder, y, builder.add(start, index))
                product = [shared, other, builder.load(total)]
                builder.store(builder.call(_fma(builder), product), total)
        sums = fold_together(builder, [builder.load(total) for total in totals])
        place = builder.gep(target.data, [args[6]])
        builder.store(sums, builder.bitcast(place, sums.type.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(count, a, types.intp, rows, types.intp, out, types.intp), codegen


def _weighted_rows(
    typingctx: Any,
    vectors: Any,
    weights: Any,
    at: Any,
    rows: Any,
    out: Any,
    out_at: Any,
    column: Any,
) -> Any:
    """An intrinsic: out[out_at + j] += weights[at + i] * rows[i, j], i in turn.

    j counts 8 * `vectors` columns from `column` on; weights and out are (n,), rows (some, width).
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight, row, target = (
            context.make_array(signature.args[place])(context, builder, args[place])
            for place in (1, 3, 4)
        )
        n, width = cgutils.unpack_tuple(builder, row.shape)
        columns = [
            builder.add(args[6], ir.Constant(n.type, LANES * i))
            for i in range(vectors.literal_value)
        ]
        places = [builder.add(args[5], column) for column in columns]
        totals = [
            cgutils.alloca_once_value(builder, _load(builder, target, place)) for place in places
        ]
        with cgutils.for_range(builder, n) as loop:
            at = builder.gep(weight.data, [builder.add(args[2], loop.index)])
            factor = _splat(builder, builder.load(at))
            start = builder.mul(loop.index, width)
            for column, total in zip(columns, totals, strict=True):
                value = _load(builder, row, builder.add(start, column))
                product = [factor, value, builder.load(total)]
                builder.store(builder.call(_fma(builder), product), total)
        for place, total in zip(places, totals, strict=True):
            at = builder.bitcast(builder.gep(target.data, [place]), _FLOATS.as_pointer())
            builder.store(builder.load(total), at, align=4)
        return context.get_dummy_value()

    return types.void(vectors, weights, types.intp, rows, out, types.intp, types.intp), codegen


def _lanes_added(typingctx: Any, totals: Any, x: Any, first: Any, last: Any) -> Any:
    """An intrinsic: totals[i % 8] += x[i], i from first on before last, both multiples of 8."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, array = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:2], args[:2], strict=True)
        )
        zero, step = ir.Constant(args[2].type, 0), ir.Constant(args[2].type, LANES)
        total = cgutils.alloca_once_value(builder, _load(builder, target, zero))
        with cgutils.for_range_slice(builder, args[2], args[3], step, inc=True) as (index, _):
            so_far = builder.load(total)
            builder.store(builder.fadd(so_far, _load(builder, array, index)), total)
        at = builder.bitcast(target.data, _FLOATS.as_pointer())
        builder.store(builder.load(total), at, align=4)
        return context.get_dummy_value()

    return types.void(totals, x, types.intp, types.intp), codegen


def _lanes_folded(typingctx: Any, totals: Any) -> Any:
    """An intrinsic: the sum of eight lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return _fold(builder, _load(builder, array, ir.Constant(_I32, 0)))

    return types.float32(totals), codegen


def _largest(typingctx: Any, x: Any, n: Any) -> Any:
    """An intrinsic: the largest of the first n values, n a multiple of 8 and not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        zero, step = ir.Constant(args[1].type, 0), ir.Constant(args[1].type, LANES)
        peak = cgutils.alloca_once_value(builder, _load(builder, array, zero))
        with cgutils.for_range_slice(builder, zero, args[1], step, inc=True) as (index, _):
            value, so_far = _load(builder, array, index), builder.load(peak)
            builder.store(_larger(builder, value, so_far), peak)
        return _fold(builder, builder.load(peak), _larger)

    return types.float32(x, types.intp), codegen


_sum_products: Any = intrinsic(_lane_products)
_sum_rows_products: Any = intrinsic(prefer_literal=True)(_rows_products)
_add_weighted_rows: Any = intrinsic(prefer_literal=True)(_weighted_rows)
_largest_of: Any = intrinsic(_largest)
add_lanes: Any = intrinsic(_lanes_added)
folded: Any = intrinsic(_lanes_folded)


@njit(cache=True, nogil=True)
def dot(a: Any, b: Any) -> Any:
    """Dot product of two contiguous float32 vectors."""
    n = a.shape[0]
    whole = n - n % LANES
    total = _sum_products(a, b, whole)
    for i in range(whole, n):
        total += a[i] * b[i]
    return np.float32(total)


@njit(nogil=True)
def dots(a: Any, at: int, rows: Any, out: Any, out_at: int) -> None:
    """out[out_at ...] = the dot products of a[at ...] with rows (n, m), each as `dot`.

    Vectors and where to look in them, not parts of them: a part of an array costs as much as a
    short product.
    """
    n, width = rows.shape
    i = 0
    if width % LANES == 0:
        while i + 8 <= n:
            _sum_rows_products(8, a, at, rows, i, out, out_at + i)
            i += 8
        if i + 4 <= n:
            _sum_rows_products(4, a, at, rows, i, out, out_at + i)
            i += 4
    while i < n:
        out[out_at + i] = dot(a[at : at + width], rows[i])
        i += 1


@njit(nogil=True)
def add_weighted(weights: Any, at: int, rows: Any, out: Any, out_at: int) -> None:
    """out[out_at ...] += weights[at ...] times rows (n, m), row after row, each product fused."""
    n, width = rows.shape
    done = 0
    while done + 8 * LANES <= width:
        _add_weighted_rows(8, weights, at, rows, out, out_at, done)
        done += 8 * LANES
    while done + LANES <= width:
        _add_weighted_rows(1, weights, at, rows, out, out_at, done)
        done += LANES
    for i in range(n):
        for j in range(done, width):
            out[out_at + j] = fma(weights[at + i], rows[i, j], out[out_at + j])


@njit(nogil=True)
def largest(x: Any) -> Any:
    """The largest of x (n,), n not 0."""
    whole = x.shape[0] - x.shape[0] % LANES
    peak = _largest_of(x, whole) if whole else x[0]
    for i in range(whole, x.shape[0]):
        peak = max(peak, x[i])
    return peak
