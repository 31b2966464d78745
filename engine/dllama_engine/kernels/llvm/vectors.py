"""LLVM vectors: constants, splats, pieces, loads; what the kernels that emit code share."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

I8, I16, I32, I64 = (ir.IntType(width) for width in (8, 16, 32, 64))
F32 = ir.FloatType()

Builder = Any
Value = Any


def constant(kind: ir.VectorType, value: float) -> ir.Constant:
    """A vector whose lanes are all the constant `value`."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: Builder, value: Value, count: int) -> Value:
    """A vector whose lanes are all `value`."""
    kind = ir.VectorType(value.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, count), 0))


def call(builder: Builder, name: str, result: ir.Type, *args: Value) -> Value:
    """Call an LLVM intrinsic, or any function, by its name."""
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def parts(builder: Builder, vector: Value, count: int) -> list[Value]:
    """A vector in pieces of `count` lanes."""
    undefined = ir.Constant(vector.type, ir.Undefined)
    kind = ir.VectorType(I32, count)
    return [
        builder.shuffle_vector(
            vector, undefined, ir.Constant(kind, list(range(first, first + count)))
        )
        for first in range(0, vector.type.count, count)
    ]


def joined(builder: Builder, low: Value, high: Value) -> Value:
    """Two vectors one behind the other."""
    count = low.type.count + high.type.count
    mask = ir.Constant(ir.VectorType(I32, count), list(range(count)))
    return builder.shuffle_vector(low, high, mask)


def load(builder: Builder, pointer: Value, kind: ir.Type) -> Value:
    """An unaligned load of `kind` at a byte pointer."""
    loaded = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    loaded.align = 1
    return loaded


def halves_to_floats(builder: Builder, bits: Value, which: str) -> Value:
    """Finite half-precision numbers, a vector of their 16 bits each, as float32, exactly.

    The portable variant converts in integers: not every CPU has an instruction.
    """
    count = bits.type.count
    floats, ints = ir.VectorType(F32, count), ir.VectorType(I32, count)
    if which != "generic":
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), count)), floats)
    wide = builder.zext(bits, ints)
    magnitude = builder.shl(builder.and_(wide, constant(ints, 0x7FFF)), constant(ints, 13))
    rebiased = builder.fmul(builder.bitcast(magnitude, floats), constant(floats, 2.0**112))
    sign = builder.shl(builder.and_(wide, constant(ints, 0x8000)), constant(ints, 16))
    return builder.bitcast(builder.or_(builder.bitcast(rebiased, ints), sign), floats)


def at(builder: Builder, pointer: Value, *offsets: Value | int) -> Value:
    """A byte pointer moved by the sum of the offsets."""
    for offset in offsets:
        amount = ir.Constant(I64, offset) if isinstance(offset, int) else offset
        pointer = builder.gep(pointer, [amount], source_etype=I8)
    return pointer


def scaled(builder: Builder, value: Value, factor: int) -> Value:
    """Value times a constant."""
    return builder.mul(value, ir.Constant(value.type, factor))


def fetch(builder: Builder, pointer: Value, n_bytes: int, level: int) -> None:
    """Ask for the line `n_bytes` behind the pointer; behind the end of memory it does no harm.

    Args:
        builder: where to write.
        pointer: what is read now.
        n_bytes: how far ahead.
        level: the cache to fetch it to, 1 or 2.
    """
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, keep, data = (ir.Constant(I32, value) for value in (0, 4 - level, 1))
    builder.call(ask, [at(builder, pointer, n_bytes), read, keep, data])


def at_most(builder: Builder, value: Value, limit: Value) -> Value:
    """The smaller of two signed integers."""
    return builder.select(builder.icmp_signed("<", value, limit), value, limit)
