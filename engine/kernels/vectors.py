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
