"""Blocks of 32 float32 values to Q80 and back, as LLVM vector code; parts of single rows.

The numbers are those of `dllama_engine.formats.quants` and of dllama: delta = max|x| / 127, rounded
to half precision where it is kept; value = x / delta (as a product), to nearest, halves away from
zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.llvm.bits import f16_to_f32, f32_to_f16
from dllama_engine.tables.blocks import BLOCK

_LANES = 8
_I8, _I32, _F32 = ir.IntType(8), ir.IntType(32), ir.FloatType()
_FLOATS = ir.VectorType(_F32, _LANES)
_INTS = ir.VectorType(_I32, _LANES)
_BYTES = ir.VectorType(_I8, _LANES)

_NEEDS_SUMS, _NEEDS_FLOATS = 2, 4  # as in `ops`


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _at(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Pointer to a vector at array[index]."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _parts(builder: Any, pointer: Any, align: int) -> list[Any]:
    """The block's four vectors."""
    loaded = []
    for part in range(BLOCK // _LANES):
        value = builder.load(builder.gep(pointer, [ir.Constant(_I32, part)]))
        value.align = align
        loaded.append(value)
    return loaded


def _splat(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _constant(ir.VectorType(_I32, kind.count), 0))


def _halves(builder: Any, vector: Any, join: Any) -> Any:
    """Join lanes i and i + 4, then i + 2, then the last two; the first lane is the result."""
    kind, count = vector.type, _LANES
    while count > 1:
        count //= 2
        mask = ir.Constant(_INTS, [(i + count) % _LANES for i in range(_LANES)])
        other = builder.shuffle_vector(vector, ir.Constant(kind, ir.Undefined), mask)
        vector = join(vector, other)
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _peak(typingctx: Any, x: Any, start: Any) -> Any:
    """Largest |x| of the 32 values from `start` on; x float32 (n,)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOATS, [_FLOATS]), "llvm.fabs.v8f32"
        )

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        pointer = _at(context, builder, signature.args[0], args[0], args[1], _FLOATS)
        a, b, c, d = (builder.call(absolute, [part]) for part in _parts(builder, pointer, 4))
        return _halves(builder, larger(larger(a, b), larger(c, d)), larger)

    return types.float32(x, types.intp), codegen


def _to_bytes(typingctx: Any, x: Any, inverse: Any, start: Any, values: Any, at: Any) -> Any:
    """values[at ...] = round(x[start ...] * inverse), 32 of them; returns their sum."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _at(context, builder, signature.args[0], args[0], args[2], _FLOATS)
        target = _at(context, builder, signature.args[3], args[3], args[4], _BYTES)
        factor = _splat(builder, args[1], _FLOATS)
        total = _constant(_INTS, 0)
        for index, part in enumerate(_parts(builder, source, 4)):
            scaled = builder.fmul(part, factor)
            whole = builder.fptosi(scaled, _INTS)
            rest = builder.fsub(scaled, builder.sitofp(whole, _FLOATS))
            up = builder.fcmp_ordered(">=", rest, _constant(_FLOATS, 0.5))
            down = builder.fcmp_ordered("<=", rest, _constant(_FLOATS, -0.5))
            whole = builder.add(whole, builder.zext(up, _INTS))
            whole = builder.sub(whole, builder.zext(down, _INTS))
            total = builder.add(total, whole)
            place = builder.gep(target, [ir.Constant(_I32, index)])
            builder.store(builder.trunc(whole, _BYTES), place, align=1)
        return _halves(builder, total, builder.add)

    return types.int32(x, types.float32, types.intp, values, types.intp), codegen


def _from_bytes(
    typingctx: Any, values: Any, at: Any, scale: Any, x: Any, start: Any, keep: Any
) -> Any:
    """x[start ...] = keep * x[start ...] + values[at ...] * scale, 32 of them; keep is 0 or 1."""
    if not isinstance(keep, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = _at(context, builder, signature.args[0], args[0], args[1], _BYTES)
        target = _at(context, builder, signature.args[3], args[3], args[4], _FLOATS)
        factor = _splat(builder, args[2], _FLOATS)
        for index, part in enumerate(_parts(builder, source, 1)):
            signed = builder.sitofp(builder.sext(part, _INTS), _FLOATS)
            value = builder.fmul(signed, factor)
            place = builder.gep(target, [ir.Constant(_I32, index)])
            if keep.literal_value:
                value = builder.fadd(builder.load(place, align=4), value)
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.float32, x, types.intp, keep), codegen


_block_peak: Any = intrinsic(_peak)
_block_to_bytes: Any = intrinsic(_to_bytes)
_block_from_bytes: Any = intrinsic(prefer_literal=True)(_from_bytes)


@njit(inline="always")
def add_block(values: Any, at: int, scale: np.float32, x: Any, start: int) -> None:
    """x[start ...] += values[at ...] * scale, 32 of them; values int8 or uint8 (n,)."""
    _block_from_bytes(values, at, scale, x, start, 1)


@njit(inline="always")
def place_block(values: Any, at: int, scale: np.float32, x: Any, start: int) -> None:
    """x[start ...] = values[at ...] * scale, 32 of them."""
    _block_from_bytes(values, at, scale, x, start, 0)


@njit(inline="always", error_model="numpy")
def cast_block(x: Any, start: int, values: Any, at: int) -> Any:
    """values[at ...] = x[start ...] in Q80; returns the delta's half-precision bits and the sum."""
    delta = _block_peak(x, start) / np.float32(127.0)
    inverse = np.float32(1.0) / delta if delta > np.float32(0.0) else np.float32(0.0)
    total = _block_to_bytes(x, inverse, start, values, at)
    return f32_to_f16(delta), total


@njit(nogil=True)
def cast_q80(
    x: Any, values: Any, scales: Any, sums: Any, floats: Any, flags: int, first: int, last: int
) -> None:
    """Cast columns [first, last) of one row, whole blocks.

    Args:
        x: float32 (n,).
        values: int8 (n,), written.
        scales: float32 (n / 32,), written.
        sums: int32 (n / 32,), written if flags has bit 2: -8 times the sum of each block's values.
        floats: float32 (n,), written if flags has bit 4: the values, dequantized again.
        flags: as above.
        first: a multiple of 32.
        last: likewise.
    """
    for block in range(first // BLOCK, last // BLOCK):
        half, total = cast_block(x, block * BLOCK, values, block * BLOCK)
        scale = f16_to_f32(half)
        scales[block] = scale
        if flags & _NEEDS_SUMS:
            sums[block] = np.int32(-8) * total
        if flags & _NEEDS_FLOATS:
            place_block(values, block * BLOCK, scale, floats, block * BLOCK)


@njit(nogil=True)
def add_through_q80(partial: Any, x: Any, first: int, last: int) -> None:
    """x (n,) += partial (n,) cast to Q80 and back, columns [first, last), whole blocks."""
    values = np.empty(BLOCK, np.int8)
    for block in range(first // BLOCK, last // BLOCK):
        half, _ = cast_block(partial, block * BLOCK, values, 0)
        add_block(values, 0, f16_to_f32(half), x, block * BLOCK)
