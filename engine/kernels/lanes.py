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


def _four_products(typingctx: Any, a: Any, b: Any, width: Any, n: Any, out: Any) -> Any:
    """An intrinsic: out[i] = sum of a[j] * b[i * width + j] over j < n, for i = 0 to 3."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, y, target = (
            context.make_array(signature.args[place])(context, builder, args[place])
            for place in (0, 1, 4)
        )
        zero_sum = ir.Constant(_FLOATS, [0.0] * LANES)
        totals = [cgutils.alloca_once_value(builder, zero_sum) for _ in range(4)]
        step, zero = ir.Constant(args[3].type, LANES), ir.Constant(args[3].type, 0)
        with cgutils.for_range_slice(builder, zero, args[3], step, inc=True) as (index, _):
            shared = _load(builder, x, index)
            for row, total in enumerate(totals):
                at = builder.add(index, builder.mul(args[2], ir.Constant(index.type, row)))
                product = [shared, _load(builder, y, at), builder.load(total)]
                builder.store(builder.call(_fma(builder), product), total)
        for row, total in enumerate(totals):
            place = builder.gep(target.data, [ir.Constant(_I32, row)])
            builder.store(_fold(builder, builder.load(total)), place)
        return context.get_dummy_value()

    return types.void(a, b, types.intp, types.intp, out), codegen


def _weighted_rows(
    typingctx: Any, weights: Any, rows: Any, width: Any, n: Any, vectors: Any, out: Any
) -> Any:
    """An intrinsic: out[j] += weights[i] * rows[i * width + j], i < n in turn, 8 * vectors j."""
    if not isinstance(vectors, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight, row, target = (
            context.make_array(signature.args[place])(context, builder, args[place])
            for place in (0, 1, 5)
        )
        places = [ir.Constant(args[3].type, LANES * i) for i in range(vectors.literal_value)]
        totals = [
            cgutils.alloca_once_value(builder, _load(builder, target, place)) for place in places
        ]
        with cgutils.for_range(builder, args[3]) as loop:
            factor = _splat(builder, builder.load(builder.gep(weight.data, [loop.index])))
            start = builder.mul(loop.index, args[2])
            for place, total in zip(places, totals, strict=True):
                value = _load(builder, row, builder.add(start, place))
                product = [factor, value, builder.load(total)]
                builder.store(builder.call(_fma(builder), product), total)
        for place, total in zip(places, totals, strict=True):
            at = builder.bitcast(builder.gep(target.data, [place]), _FLOATS.as_pointer())
            builder.store(builder.load(total), at, align=4)
        return context.get_dummy_value()

    return types.void(weights, rows, types.intp, types.intp, vectors, out), codegen


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
_sum_four_products: Any = intrinsic(_four_products)
_add_weighted_rows: Any = intrinsic(prefer_literal=True)(_weighted_rows)
_largest_of: Any = intrinsic(_largest)


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
def dots(a: Any, rows: Any, out: Any) -> None:
    """out (n,) = the dot products of a (m,) with rows (n, m), each as `dot`."""
    n, width = rows.shape
    whole = n - n % 4 if width % LANES == 0 else 0
    flat = rows.reshape(-1)
    for i in range(0, whole, 4):
        _sum_four_products(a, flat[i * width :], width, width, out[i : i + 4])
    for i in range(whole, n):
        out[i] = dot(a, rows[i])


@njit(nogil=True, fastmath={"contract"})
def add_weighted(weights: Any, rows: Any, out: Any) -> None:
    """out (m,) += weights (n,) times rows (n, m), row after row, each product fused."""
    n, width = rows.shape
    flat = rows.reshape(-1)
    done = 0
    while done + 8 * LANES <= width:
        _add_weighted_rows(weights, flat[done:], width, n, 8, out[done:])
        done += 8 * LANES
    while done + LANES <= width:
        _add_weighted_rows(weights, flat[done:], width, n, 1, out[done:])
        done += LANES
    for i in range(n):
        for j in range(done, width):
            out[j] += weights[i] * rows[i, j]


@njit(nogil=True)
def largest(x: Any) -> Any:
    """The largest of x (n,), n not 0."""
    whole = x.shape[0] - x.shape[0] % LANES
    peak = _largest_of(x, whole) if whole else x[0]
    for i in range(whole, x.shape[0]):
        peak = max(peak, x[i])
    return peak
