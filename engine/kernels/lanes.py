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
_F32 = ir.FloatType()
_FLOATS = ir.VectorType(_F32, LANES)


def _load(builder: Any, array: Any, index: Any) -> Any:
    at = builder.bitcast(builder.gep(array.data, [index]), _FLOATS.as_pointer())
    loaded = builder.load(at)
    loaded.align = 4
    return loaded


def _fold(builder: Any, vector: Any) -> Any:
    """The sum of the lanes: halves are added until one is left."""
    count = LANES
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    while count > 1:
        count //= 2
        mask = ir.Constant(
            ir.VectorType(ir.IntType(32), LANES), [(i + count) % LANES for i in range(LANES)]
        )
        vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, mask))
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
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), "llvm.fma.v8f32"
        )
        with cgutils.for_range_slice(builder, zero, args[2], step, inc=True) as (index, _):
            products = [_load(builder, x, index), _load(builder, y, index), builder.load(total)]
            builder.store(builder.call(fma, products), total)
        return _fold(builder, builder.load(total))

    return types.float32(a, b, types.intp), codegen


_sum_products: Any = intrinsic(_lane_products)


@njit(cache=True, nogil=True)
def dot(a: Any, b: Any) -> Any:
    """Dot product of two contiguous float32 vectors."""
    n = a.shape[0]
    whole = n - n % LANES
    total = _sum_products(a, b, whole)
    for i in range(whole, n):
        total += a[i] * b[i]
    return np.float32(total)
