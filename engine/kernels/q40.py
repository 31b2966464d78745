"""Q40 weights times Q80 inputs as LLVM vector code: eight rows at a time, one lane each.

Weights are packed so that 8 rows interleave. For 8 rows and one block of 32 columns there are four
vectors of 32 bytes; vector v holds, for each row in turn, the four bytes whose low nibbles are
columns 4v to 4v+3 and whose high nibbles are columns 16+4v to 16+4v+3. A step multiplies one such
vector with four input bytes that all rows share, so that sums stay in the row's own lane.

Three ways to take a step, chosen by the host's CPU: VNNI's 4-byte dot product, AVX2's byte
multiply-add, and plain 16-bit products, which every target has (NEON's smull and mla among them).
All three sum a block exactly, in integers: at most 16 * 15 * 127 = 30 480 in 16 bits. So they
agree to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels.cpu import cpu_features

LANES = 8  # rows a group
_BLOCK = 32
STEPS = 4  # vectors a block; each gives two steps, low and high nibbles
_TILE = 4  # tokens that share one reading of the weights

_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
_F32 = ir.FloatType()
_BYTES = ir.VectorType(_I8, 32)
_HALVES = ir.VectorType(ir.HalfType(), LANES)
_INTS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(_F32, LANES)

Builder = Any
Value = Any


def variant() -> str:
    """Which step this host takes: vnni, avx2 or generic; DLLAMA_KERNELS overrides.

    Raises:
        ValueError: DLLAMA_KERNELS names a variant that does not exist or that the CPU lacks.
    """
    possible = available_variants()
    wanted = os.environ.get("DLLAMA_KERNELS")
    if wanted and wanted not in possible:
        raise ValueError(
            f"DLLAMA_KERNELS={wanted}: this CPU can run {', '.join(possible)}; unset it to choose"
        )
    return wanted or possible[0]


def available_variants() -> list[str]:
    """The variants that this CPU can run, best first."""
    features = cpu_features()
    found = []
    if {"avx512vnni", "avx512vl", "f16c"} <= features:
        found.append("vnni")
    if {"avx2", "f16c"} <= features:
        found.append("avx2")
    return [*found, "generic"]


def _constant(kind: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _splat(builder: Builder, value: Value, count: int) -> Value:
    """A vector whose lanes are all `value`."""
    kind = ir.VectorType(value.type, count)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _constant(ir.VectorType(_I32, count), 0))


def _call(builder: Builder, name: str, result: ir.Type, *args: Value) -> Value:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _dot_vnni(builder: Builder, steps: list[tuple[Value, Value]]) -> Value:
    total = _constant(_INTS, 0)
    for weights, inputs in steps:
        words = builder.bitcast(weights, _INTS)
        total = _call(builder, "llvm.x86.avx512.vpdpbusd.256", _INTS, total, words, inputs)
    return total


def _dot_avx2(builder: Builder, steps: list[tuple[Value, Value]]) -> Value:
    pairs = ir.VectorType(_I16, 16)
    total = _constant(pairs, 0)
    for weights, inputs in steps:
        signed = builder.bitcast(inputs, _BYTES)
        products = _call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, weights, signed)
        total = builder.add(total, products)
    return _call(builder, "llvm.x86.avx2.pmadd.wd", _INTS, total, _constant(pairs, 1))


def _dot_generic(builder: Builder, steps: list[tuple[Value, Value]]) -> Value:
    wide = ir.VectorType(_I16, 32)
    total = _constant(wide, 0)
    for weights, inputs in steps:
        signed = builder.sext(builder.bitcast(inputs, _BYTES), wide)
        total = builder.add(total, builder.mul(builder.zext(weights, wide), signed))
    lanes = _constant(_INTS, 0)
    for column in range(4):  # a row's four columns stand side by side
        mask = ir.Constant(_INTS, [4 * row + column for row in range(LANES)])
        part = builder.shuffle_vector(total, _constant(wide, 0), mask)
        lanes = builder.add(lanes, builder.sext(part, _INTS))
    return lanes


_DOTS: dict[str, Callable[[Builder, list[tuple[Value, Value]]], Value]] = {
    "vnni": _dot_vnni,
    "avx2": _dot_avx2,
    "generic": _dot_generic,
}


def _load(builder: Builder, pointer: Value, kind: ir.Type) -> Value:
    """An unaligned load of `kind` at a byte pointer."""
    loaded = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    loaded.align = 1
    return loaded


class _Emitter:
    """Writes the code for one group of rows and a tile of tokens."""

    def __init__(self, builder: Builder, which: str, n_tokens: int) -> None:
        self.builder, self.n_tokens = builder, n_tokens
        self.dot = _DOTS[which]

    def at(self, pointer: Value, *offsets: Value) -> Value:
        """A byte pointer moved by the sum of the offsets."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset], source_etype=_I8)
        return pointer

    def scaled(self, value: Value, factor: int) -> Value:
        return self.builder.mul(value, ir.Constant(value.type, factor))

    def nibbles(self, weights: Value, block: Value) -> list[Value]:
        """The block's weights as bytes 0 to 15: four vectors of low, then of high nibbles."""
        builder, low, high = self.builder, [], []
        for step in range(STEPS):
            offset = builder.add(
                self.scaled(block, STEPS * _BLOCK), ir.Constant(block.type, step * _BLOCK)
            )
            packed = _load(builder, self.at(weights, offset), _BYTES)
            low.append(builder.and_(packed, _constant(_BYTES, 15)))
            high.append(builder.lshr(packed, _constant(_BYTES, 4)))
        return low + high

    def block_sums(self, nibbles: list[Value], x: Value, sum8: Value, block: Value) -> Value:
        """Integer dot products of one token with the rows, float32 lanes."""
        builder, steps = self.builder, []
        for index, weights in enumerate(nibbles):
            offset = builder.add(self.scaled(block, _BLOCK), ir.Constant(block.type, 4 * index))
            four = _load(builder, self.at(x, offset), _I32)
            steps.append((weights, _splat(builder, four, LANES)))
        shift = _splat(builder, _load(builder, self.at(sum8, self.scaled(block, 4)), _I32), LANES)
        return builder.sitofp(builder.sub(self.dot(builder, steps), shift), _FLOATS)

    def emit(self, pointers: dict[str, Value], n_blocks: Value) -> list[Value]:
        """The tile's sums: one vector of LANES floats a token."""
        builder = self.builder
        sums = [cgutils.alloca_once_value(builder, _constant(_FLOATS, 0)) for _ in self.tokens]
        with cgutils.for_range(builder, n_blocks) as loop:
            block = loop.index
            nibbles = self.nibbles(pointers["weights"], block)
            delta_at = self.at(pointers["deltas"], self.scaled(block, 2 * LANES))
            deltas = builder.fpext(_load(builder, delta_at, _HALVES), _FLOATS)
            for token in self.tokens:
                row = ir.Constant(block.type, token)
                first = builder.mul(row, n_blocks)
                x = self.at(pointers["values"], self.scaled(first, _BLOCK))
                sum8 = self.at(pointers["sums"], self.scaled(first, 4))
                scale_at = self.at(pointers["scales"], self.scaled(builder.add(first, block), 4))
                scale = _splat(builder, _load(builder, scale_at, _F32), LANES)
                dots = self.block_sums(nibbles, x, sum8, block)
                before = builder.load(sums[token])
                after = _call(
                    builder, "llvm.fma.v8f32", _FLOATS, dots, builder.fmul(deltas, scale), before
                )
                builder.store(after, sums[token])
        return [builder.load(total) for total in sums]

    @property
    def tokens(self) -> range:
        return range(self.n_tokens)


def _group_kernel(
    typingctx: Any, which: Any, n_tokens: Any, weights: Any, deltas: Any, values: Any,
    scales: Any, sums: Any, result: Any, group: Any, token: Any,
) -> Any:  # fmt: skip
    """An intrinsic: result (tokens, 8) = sums of row group `group` for `n_tokens` from `token` on.

    `which` and `n_tokens` must be constants; the arrays are those of `q40_q80`.
    """
    if not isinstance(which, types.StringLiteral) or not isinstance(n_tokens, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        names = ("weights", "deltas", "values", "scales", "sums", "result")
        arrays = {
            name: context.make_array(kind)(context, builder, value)
            for name, kind, value in zip(names, signature.args[2:8], args[2:8], strict=True)
        }
        n_blocks = cgutils.unpack_tuple(builder, arrays["deltas"].shape)[1]
        emitter = _Emitter(builder, which.literal_value, n_tokens.literal_value)
        by_group = builder.mul(args[8], n_blocks)
        by_token = builder.mul(args[9], n_blocks)
        starts = {
            "weights": emitter.scaled(by_group, STEPS * _BLOCK),
            "deltas": emitter.scaled(by_group, 2 * LANES),
            "values": emitter.scaled(by_token, _BLOCK),
            "scales": emitter.scaled(by_token, 4),
            "sums": emitter.scaled(by_token, 4),
        }
        bases = {
            name: builder.bitcast(array.data, _I8.as_pointer()) for name, array in arrays.items()
        }
        pointers = {name: emitter.at(bases[name], start) for name, start in starts.items()}
        for row, total in enumerate(emitter.emit(pointers, n_blocks)):
            offset = ir.Constant(n_blocks.type, row * LANES * 4)
            target = emitter.at(bases["result"], offset)
            builder.store(total, builder.bitcast(target, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    arrays = (weights, deltas, values, scales, sums, result)
    return types.void(which, n_tokens, *arrays, types.intp, types.intp), codegen


_sum_group: Any = intrinsic(prefer_literal=True)(_group_kernel)


def make_q40_q80(which: str) -> Any:
    """The product for one variant, a nogil kernel; its name is part of the key of numba's cache."""

    @njit(nogil=True, cache=True)
    def q40_q80(
        weights: Any, deltas: Any, values: Any, scales: Any, sums: Any, out: Any,
        first: int, last: int,
    ) -> None:  # fmt: skip
        """Y = x W^T for rows [first, last), first a multiple of 8.

        Args:
            weights: uint8 (groups, n / 32, 4, 32), packed as the module says.
            deltas: half-precision bits uint16 (groups, n / 32, 8).
            values: int8 (tokens, n).
            scales: float32 (tokens, n / 32).
            sums: int32 (tokens, n / 32): 8 times the sum of each block of values.
            out: float32 (tokens, rows), columns first to last written.
            first: first row.
            last: one past the last row.
        """
        n_tokens = values.shape[0]
        result = np.empty((_TILE, LANES), np.float32)
        for group in range(first // LANES, (last + LANES - 1) // LANES):
            row = group * LANES
            width = min(LANES, last - row)
            token = 0
            while token < n_tokens:
                step = _TILE if token + _TILE <= n_tokens else 1
                if step == _TILE:
                    _sum_group(
                        which, _TILE, weights, deltas, values, scales, sums, result, group, token
                    )
                else:
                    _sum_group(
                        which, 1, weights, deltas, values, scales, sums, result, group, token
                    )
                for t in range(step):
                    for lane in range(width):
                        out[token + t, row + lane] = result[t, lane]
                token += step

    return q40_q80


q40_q80: Any = make_q40_q80(variant())


@njit(cache=True, nogil=True)
def pack_rows(raw: Any, weights: Any, deltas: Any, first: int) -> bool:
    """Place rows as stored, uint8 (rows, n / 32 * 18), at row `first` of the packed arrays.

    Returns:
        Whether every delta is finite.
    """
    finite = True
    for row in range(raw.shape[0]):
        group, lane = (first + row) // LANES, (first + row) % LANES
        for block in range(deltas.shape[1]):
            at = block * 18
            delta = np.uint16(raw[row, at]) | np.uint16(np.uint16(raw[row, at + 1]) << 8)
            deltas[group, block, lane] = delta
            if (delta & 0x7C00) == 0x7C00:
                finite = False
            for step in range(STEPS):
                for i in range(4):
                    weights[group, block, step, 4 * lane + i] = raw[row, at + 2 + 4 * step + i]
    return finite


@njit(cache=True, nogil=True)
def block_sums(values: Any, sums: Any) -> None:
    """Sums int32 (tokens, n / 32): 8 times the sum of each block of values int8 (tokens, n)."""
    for token in range(sums.shape[0]):
        for block in range(sums.shape[1]):
            total = np.int32(0)
            for i in range(block * _BLOCK, (block + 1) * _BLOCK):
                total = np.int32(total + np.int32(values[token, i]))
            sums[token, block] = np.int32(8) * total
