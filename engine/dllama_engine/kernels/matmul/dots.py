"""Integer dot products of eight rows with one token, a lane a row, in five instruction sets.

A step multiplies a vector of 32 bytes, four of each row in turn, with four input bytes that all
rows share, so that sums stay in the row's own lane.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from dllama_engine.kernels.llvm.vectors import (
    I8,
    I16,
    I32,
    Builder,
    Value,
    call,
    constant,
    joined,
    parts,
)
from dllama_engine.tables.blocks import LANES

_BYTES = ir.VectorType(I8, 32)
_INTS = ir.VectorType(I32, LANES)

# A dot takes the steps of a block, each (weights as bytes, four inputs in every lane), and what
# the sum starts from; it returns int32 lanes, one a row.
Steps = list[tuple[Value, Value]]


def _dot_vnni(builder: Builder, steps: Steps, total: Value) -> Value:
    name = f"llvm.x86.avx512.vpdpbusd.{32 * total.type.count}"
    for weights, inputs in steps:
        words = builder.bitcast(weights, total.type)
        total = call(builder, name, total.type, total, words, inputs)
    return total


def _dot_avx2(builder: Builder, steps: Steps, start: Value) -> Value:
    pairs = ir.VectorType(I16, 16)
    total = constant(pairs, 0)
    for weights, inputs in steps:
        signed = builder.bitcast(inputs, _BYTES)
        products = call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, weights, signed)
        total = builder.add(total, products)
    sums = call(builder, "llvm.x86.avx2.pmadd.wd", _INTS, total, constant(pairs, 1))
    return builder.add(sums, start)


def _dot_generic(builder: Builder, steps: Steps, start: Value) -> Value:
    wide = ir.VectorType(I16, 32)
    total = constant(wide, 0)
    for weights, inputs in steps:
        signed = builder.sext(builder.bitcast(inputs, _BYTES), wide)
        total = builder.add(total, builder.mul(builder.zext(weights, wide), signed))
    lanes = start
    for column in range(4):  # a row's four columns stand side by side
        mask = ir.Constant(_INTS, [4 * row + column for row in range(LANES)])
        part = builder.shuffle_vector(total, constant(wide, 0), mask)
        lanes = builder.add(lanes, builder.sext(part, _INTS))
    return lanes


def _dot_dotprod(builder: Builder, steps: Steps, start: Value) -> Value:
    """AArch64's 4-byte dot product, as of Armv8.2 (Raspberry Pi 5): two registers of rows."""
    quad = ir.VectorType(I32, 4)
    totals = parts(builder, start, 4)
    for weights, inputs in steps:
        four = parts(builder, builder.bitcast(inputs, _BYTES), 16)[0]
        for half, rows in enumerate(parts(builder, weights, 16)):
            totals[half] = call(
                builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", quad, totals[half], rows, four
            )
    return joined(builder, *totals)


def _dot_neon(builder: Builder, steps: Steps, start: Value) -> Value:
    """Byte products added up in 16 bits, then in pairs: any AArch64 (Raspberry Pi 4)."""
    eight, quad = ir.VectorType(I16, 8), ir.VectorType(I32, 4)
    totals = [constant(eight, 0)] * 4
    for weights, inputs in steps:
        four = parts(builder, builder.bitcast(inputs, _BYTES), 8)[0]
        for part, rows in enumerate(parts(builder, weights, 8)):
            products = call(builder, "llvm.aarch64.neon.smull.v8i16", eight, rows, four)
            totals[part] = builder.add(totals[part], products)
    pairs = [call(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", quad, total) for total in totals]
    rows = [
        call(builder, "llvm.aarch64.neon.addp.v4i32", quad, pairs[i], pairs[i + 1]) for i in (0, 2)
    ]
    return builder.add(joined(builder, *rows), start)


DOTS: dict[str, Callable[[Builder, Steps, Value], Value]] = {
    "vnni": _dot_vnni,
    "avx2": _dot_avx2,
    "dotprod": _dot_dotprod,
    "neon": _dot_neon,
    "generic": _dot_generic,
}


def _signed_vnni(builder: Builder, steps: Steps, start: Value) -> Value:
    """Weights moved to 0 to 255; `start` is -128 times the sum of the inputs."""
    raised = [(builder.xor(weights, constant(_BYTES, -128)), inputs) for weights, inputs in steps]
    return _dot_vnni(builder, raised, start)


def _signed_avx2(builder: Builder, steps: Steps, start: Value) -> Value:
    """Sixteen-bit products, added in pairs: a byte product of -128 and -128 does not fit."""
    wide = ir.VectorType(I16, 16)
    totals = [constant(_INTS, 0)] * 2
    for weights, inputs in steps:
        bytes_ = builder.bitcast(inputs, _BYTES)
        right = builder.sext(parts(builder, bytes_, 16)[0], wide)
        for half, rows in enumerate(parts(builder, weights, 16)):
            left = builder.sext(rows, wide)
            products = call(builder, "llvm.x86.avx2.pmadd.wd", _INTS, left, right)
            totals[half] = builder.add(totals[half], products)
    even, odd = ([parity + 2 * i for i in range(LANES)] for parity in (0, 1))
    low, high = (builder.shuffle_vector(*totals, ir.Constant(_INTS, mask)) for mask in (even, odd))
    return builder.add(builder.add(low, high), start)


def _signed_generic(builder: Builder, steps: Steps, start: Value) -> Value:
    wide, total = ir.VectorType(I16, 32), start
    for weights, inputs in steps:
        signed = builder.sext(builder.bitcast(inputs, _BYTES), wide)
        products = builder.mul(builder.sext(weights, wide), signed)  # at most 16 384
        for column in range(4):  # a row's four columns stand side by side
            mask = ir.Constant(_INTS, [4 * row + column for row in range(LANES)])
            part = builder.shuffle_vector(products, constant(wide, 0), mask)
            total = builder.add(total, builder.sext(part, _INTS))
    return total


def _signed_neon(builder: Builder, steps: Steps, start: Value) -> Value:
    """Byte products, added in pairs to 32 bits at once: any AArch64 (Raspberry Pi 4)."""
    eight, quad = ir.VectorType(I16, 8), ir.VectorType(I32, 4)
    totals = [constant(quad, 0)] * 4
    for weights, inputs in steps:
        four = parts(builder, builder.bitcast(inputs, _BYTES), 8)[0]
        for part, rows in enumerate(parts(builder, weights, 8)):
            products = call(builder, "llvm.aarch64.neon.smull.v8i16", eight, rows, four)
            pairs = call(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", quad, products)
            totals[part] = builder.add(totals[part], pairs)
    rows = [
        call(builder, "llvm.aarch64.neon.addp.v4i32", quad, totals[i], totals[i + 1])
        for i in (0, 2)
    ]
    return builder.add(joined(builder, *rows), start)


# The same for weights from -128 to 127.
SIGNED_DOTS: dict[str, Callable[[Builder, Steps, Value], Value]] = {
    "vnni": _signed_vnni,
    "avx2": _signed_avx2,
    "dotprod": _dot_dotprod,
    "neon": _signed_neon,
    "generic": _signed_generic,
}
