"""Q40 weights times Q80 inputs as LLVM vector code: eight rows at a time, one lane each.

Weights are packed so that 8 rows interleave. For 8 rows and one block of 32 columns there are four
vectors of 32 bytes; vector v holds, for each row in turn, the four bytes whose low nibbles are
columns 4v to 4v+3 and whose high nibbles are columns 16+4v to 16+4v+3. A step multiplies one such
vector with four input bytes that all rows share, so that sums stay in the row's own lane.

Five ways to take a step, chosen by the host's CPU: the 4-byte dot products of VNNI and of Armv8.2,
the byte multiply-add of AVX2, the byte products of NEON, and plain 16-bit products, which every
target has. All sum a block exactly, in integers: at most 16 * 15 * 128 = 30 720 in 16 bits. So
they agree to the bit.
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

from engine.errors import EngineError
from engine.kernels.cpu import cpu_features

LANES = 8  # rows a group
_BLOCK = 32
STEPS = 4  # vectors a block; each gives two steps, low and high nibbles
_MAX_TILE = 8  # tokens that share one reading of the weights

_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
_F32 = ir.FloatType()
_BYTES = ir.VectorType(_I8, 32)
_HALVES = ir.VectorType(ir.HalfType(), LANES)
_INTS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(_F32, LANES)

Builder = Any
Value = Any


def variant() -> str:
    """Which step this host takes, a key of TILES; DLLAMA_KERNELS overrides.

    Raises:
        EngineError: DLLAMA_KERNELS names a variant that does not exist or that the CPU lacks.
    """
    possible = available_variants()
    wanted = os.environ.get("DLLAMA_KERNELS")
    if wanted and wanted not in possible:
        raise EngineError(
            f"DLLAMA_KERNELS={wanted}: this CPU can run {', '.join(possible)}; unset it to choose"
        )
    return wanted or possible[0]


def available_variants() -> list[str]:
    """The variants that this CPU can run, best first."""
    features = cpu_features()
    needs = {
        "vnni": {"avx512vnni", "avx512vl", "avx512f", "f16c"},
        "avx2": {"avx2", "f16c"},
        "dotprod": {"neon", "dotprod"},
        "neon": {"neon"},
    }
    found = [which for which, needed in needs.items() if needed <= features]
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


# A dot takes the steps of a block, each (weights as bytes, four inputs in every lane), and what
# the sum starts from; it returns int32 lanes, one a row.
Steps = list[tuple[Value, Value]]


def _dot_vnni(builder: Builder, steps: Steps, total: Value) -> Value:
    name = f"llvm.x86.avx512.vpdpbusd.{32 * total.type.count}"
    for weights, inputs in steps:
        words = builder.bitcast(weights, total.type)
        total = _call(builder, name, total.type, total, words, inputs)
    return total


def _dot_avx2(builder: Builder, steps: Steps, start: Value) -> Value:
    pairs = ir.VectorType(_I16, 16)
    total = _constant(pairs, 0)
    for weights, inputs in steps:
        signed = builder.bitcast(inputs, _BYTES)
        products = _call(builder, "llvm.x86.avx2.pmadd.ub.sw", pairs, weights, signed)
        total = builder.add(total, products)
    sums = _call(builder, "llvm.x86.avx2.pmadd.wd", _INTS, total, _constant(pairs, 1))
    return builder.add(sums, start)


def _dot_generic(builder: Builder, steps: Steps, start: Value) -> Value:
    wide = ir.VectorType(_I16, 32)
    total = _constant(wide, 0)
    for weights, inputs in steps:
        signed = builder.sext(builder.bitcast(inputs, _BYTES), wide)
        total = builder.add(total, builder.mul(builder.zext(weights, wide), signed))
    lanes = start
    for column in range(4):  # a row's four columns stand side by side
        mask = ir.Constant(_INTS, [4 * row + column for row in range(LANES)])
        part = builder.shuffle_vector(total, _constant(wide, 0), mask)
        lanes = builder.add(lanes, builder.sext(part, _INTS))
    return lanes


def _parts(builder: Builder, vector: Value, count: int) -> list[Value]:
    """A vector in pieces of `count` lanes."""
    undefined = ir.Constant(vector.type, ir.Undefined)
    kind = ir.VectorType(_I32, count)
    return [
        builder.shuffle_vector(
            vector, undefined, ir.Constant(kind, list(range(first, first + count)))
        )
        for first in range(0, vector.type.count, count)
    ]


def _dot_dotprod(builder: Builder, steps: Steps, start: Value) -> Value:
    """AArch64's 4-byte dot product, as of Armv8.2 (Raspberry Pi 5): two registers of rows."""
    quad = ir.VectorType(_I32, 4)
    totals = _parts(builder, start, 4)
    for weights, inputs in steps:
        four = _parts(builder, builder.bitcast(inputs, _BYTES), 16)[0]
        for half, rows in enumerate(_parts(builder, weights, 16)):
            totals[half] = _call(
                builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", quad, totals[half], rows, four
            )
    return _joined(builder, *totals)


def _dot_neon(builder: Builder, steps: Steps, start: Value) -> Value:
    """Byte products added up in 16 bits, then in pairs: any AArch64 (Raspberry Pi 4)."""
    eight, quad = ir.VectorType(_I16, 8), ir.VectorType(_I32, 4)
    totals = [_constant(eight, 0)] * 4
    for weights, inputs in steps:
        four = _parts(builder, builder.bitcast(inputs, _BYTES), 8)[0]
        for part, rows in enumerate(_parts(builder, weights, 8)):
            products = _call(builder, "llvm.aarch64.neon.smull.v8i16", eight, rows, four)
            totals[part] = builder.add(totals[part], products)
    pairs = [
        _call(builder, "llvm.aarch64.neon.saddlp.v4i32.v8i16", quad, total) for total in totals
    ]
    rows = [
        _call(builder, "llvm.aarch64.neon.addp.v4i32", quad, pairs[i], pairs[i + 1]) for i in (0, 2)
    ]
    return builder.add(_joined(builder, *rows), start)


def _joined(builder: Builder, low: Value, high: Value) -> Value:
    """Two vectors one behind the other."""
    count = low.type.count + high.type.count
    mask = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
    return builder.shuffle_vector(low, high, mask)


_DOTS: dict[str, Callable[[Builder, Steps, Value], Value]] = {
    "vnni": _dot_vnni,
    "avx2": _dot_avx2,
    "dotprod": _dot_dotprod,
    "neon": _dot_neon,
    "generic": _dot_generic,
}
# Tiles of tokens that share one reading of the weights, by groups of rows at once; what registers
# hold. VNNI takes two groups in one 64-byte register.
TILES: dict[str, dict[int, tuple[int, ...]]] = {
    "vnni": {2: (8, 4, 2, 1), 1: (4, 1)},
    "avx2": {1: (4, 1)},
    "dotprod": {1: (8, 4, 1)},
    "neon": {1: (4, 1)},
    "generic": {1: (4, 1)},
}
_AHEAD_BYTES = 6144  # how far the weights are fetched ahead; measured, see docs/kernels.md


def _load(builder: Builder, pointer: Value, kind: ir.Type) -> Value:
    """An unaligned load of `kind` at a byte pointer."""
    loaded = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    loaded.align = 1
    return loaded


class Emitter:
    """Writes the code for one or two groups of rows and a tile of tokens."""

    def __init__(self, builder: Builder, which: str, n_groups: int, n_tokens: int) -> None:
        self.builder, self.n_groups, self.n_tokens = builder, n_groups, n_tokens
        self.dot = _DOTS[which]
        self.lanes = n_groups * LANES
        self.ints = ir.VectorType(_I32, self.lanes)
        self.floats = ir.VectorType(_F32, self.lanes)
        self.bytes = ir.VectorType(_I8, n_groups * _BLOCK)

    def at(self, pointer: Value, *offsets: Value) -> Value:
        """A byte pointer moved by the sum of the offsets."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset], source_etype=_I8)
        return pointer

    def scaled(self, value: Value, factor: int) -> Value:
        """Value times a constant."""
        return self.builder.mul(value, ir.Constant(value.type, factor))

    def rows(self, pointers: list[Value], kind: ir.VectorType) -> Value:
        """The same of each group, one behind the other."""
        loaded = [_load(self.builder, pointer, kind) for pointer in pointers]
        return loaded[0] if len(loaded) == 1 else _joined(self.builder, *loaded)

    def fetch_ahead(self, pointer: Value, n_bytes: int) -> None:
        """Ask for what is read some blocks later; behind the end it does no harm."""
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        where = self.at(pointer, ir.Constant(ir.IntType(64), n_bytes))
        read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
        self.builder.call(fetch, [where, read, keep, data])

    def nibbles(self, weights: list[Value]) -> list[Value]:
        """The block's weights as bytes 0 to 15: four vectors of low, then of high nibbles."""
        builder, low, high = self.builder, [], []
        for step in range(STEPS):
            offset = ir.Constant(ir.IntType(64), step * _BLOCK)
            packed = self.rows([self.at(pointer, offset) for pointer in weights], _BYTES)
            low.append(builder.and_(packed, _constant(self.bytes, 15)))
            high.append(builder.lshr(packed, _constant(self.bytes, 4)))
        return low + high

    def block_sums(self, nibbles: list[Value], x: Value, sums: Value, block: Value) -> Value:
        """Integer dot products of one token with the rows, float32 lanes."""
        builder, steps = self.builder, []
        for index, weights in enumerate(nibbles):
            offset = builder.add(self.scaled(block, _BLOCK), ir.Constant(block.type, 4 * index))
            four = _load(builder, self.at(x, offset), _I32)
            steps.append((weights, _splat(builder, four, self.lanes)))
        start = _load(builder, self.at(sums, self.scaled(block, 4)), _I32)
        total = self.dot(builder, steps, _splat(builder, start, self.lanes))
        return builder.sitofp(total, self.floats)

    def emit(self, pointers: dict[str, Value], n_blocks: Value) -> list[Value]:
        """The tile's sums: one vector of float lanes a token."""
        builder = self.builder
        zero = _constant(self.floats, 0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(self.n_tokens)]
        with cgutils.for_range(builder, n_blocks) as loop:
            block = loop.index
            group_blocks = [
                builder.add(block, self.scaled(n_blocks, group)) for group in range(self.n_groups)
            ]
            weights = [
                self.at(pointers["weights"], self.scaled(place, STEPS * _BLOCK))
                for place in group_blocks
            ]
            delta_at = [
                self.at(pointers["deltas"], self.scaled(place, 2 * LANES)) for place in group_blocks
            ]
            for pointer, deltas in zip(weights, delta_at, strict=True):
                self.fetch_ahead(pointer, _AHEAD_BYTES)
                self.fetch_ahead(pointer, _AHEAD_BYTES + 64)
                self.fetch_ahead(deltas, _AHEAD_BYTES // 8)
            nibbles = self.nibbles(weights)
            scales_of_rows = builder.fpext(self.rows(delta_at, _HALVES), self.floats)
            for token, total in enumerate(sums):
                first = builder.mul(ir.Constant(block.type, token), n_blocks)
                x = self.at(pointers["values"], self.scaled(first, _BLOCK))
                token_sums = self.at(pointers["sums"], self.scaled(first, 4))
                scale_at = self.at(pointers["scales"], self.scaled(builder.add(first, block), 4))
                scale = _splat(builder, _load(builder, scale_at, _F32), self.lanes)
                factors = builder.fmul(scales_of_rows, scale)
                dots = self.block_sums(nibbles, x, token_sums, block)
                fma = f"llvm.fma.v{self.lanes}f32"
                before = builder.load(total)
                builder.store(_call(builder, fma, self.floats, dots, factors, before), total)
        return [builder.load(total) for total in sums]


def _group_kernel(
    typingctx: Any, which: Any, n_groups: Any, n_tokens: Any, weights: Any, deltas: Any,
    values: Any, scales: Any, sums: Any, result: Any, group: Any, token: Any,
) -> Any:  # fmt: skip
    """An intrinsic: result (tokens, lanes) = sums of rows from `group` on, tokens from `token` on.

    `which`, `n_groups` and `n_tokens` must be constants; the arrays are those of `q40_q80`.
    """
    constants = (which, n_groups, n_tokens)
    if not all(isinstance(value, types.Literal) for value in constants):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        names = ("weights", "deltas", "values", "scales", "sums", "result")
        arrays = {
            name: context.make_array(kind)(context, builder, value)
            for name, kind, value in zip(names, signature.args[3:9], args[3:9], strict=True)
        }
        n_blocks = cgutils.unpack_tuple(builder, arrays["deltas"].shape)[1]
        emitter = Emitter(builder, *(value.literal_value for value in constants))
        by_group = builder.mul(args[9], n_blocks)
        by_token = builder.mul(args[10], n_blocks)
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
            offset = ir.Constant(n_blocks.type, row * emitter.lanes * 4)
            target = emitter.at(bases["result"], offset)
            builder.store(total, builder.bitcast(target, emitter.floats.as_pointer()), align=4)
        return context.get_dummy_value()

    arrays = (weights, deltas, values, scales, sums, result)
    return types.void(*constants, *arrays, types.intp, types.intp), codegen


_sum_group: Any = intrinsic(prefer_literal=True)(_group_kernel)


def make_q40_q80(which: str) -> Any:
    """The product for one variant, a nogil kernel; its name is part of the key of numba's cache."""
    # A tile that the variant lacks is never reached: the one below takes its tokens.
    pairs, singles = TILES[which].get(2, ()), TILES[which][1]
    pair_8, pair_4, pair_2 = 8 in pairs, 4 in pairs, 2 in pairs
    single_8, single_4 = 8 in singles, 4 in singles
    has_pairs = bool(pairs)

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
            sums: int32 (tokens, n / 32): -8 times the sum of each block of values.
            out: float32 (tokens, rows), columns first to last written.
            first: first row.
            last: one past the last row.
        """
        n_tokens = values.shape[0]
        result = np.empty(_MAX_TILE * 2 * LANES, np.float32)
        group = first // LANES
        while group * LANES < last:
            row, token = group * LANES, 0
            n_groups = 2 if has_pairs and n_tokens > 1 and last - row > LANES else 1
            lanes = n_groups * LANES
            width = min(lanes, last - row)
            while token < n_tokens:
                left = n_tokens - token
                if has_pairs and n_groups == 2:
                    if pair_8 and left >= 8:
                        step = 8
                        _sum_group(
                            which, 2, 8, weights, deltas, values, scales, sums, result, group, token
                        )
                    elif pair_4 and left >= 4:
                        step = 4
                        _sum_group(
                            which, 2, 4, weights, deltas, values, scales, sums, result, group, token
                        )
                    elif pair_2 and left >= 2:
                        step = 2
                        _sum_group(
                            which, 2, 2, weights, deltas, values, scales, sums, result, group, token
                        )
                    else:
                        step = 1
                        _sum_group(
                            which, 2, 1, weights, deltas, values, scales, sums, result, group, token
                        )
                elif single_8 and left >= 8:
                    step = 8
                    _sum_group(
                        which, 1, 8, weights, deltas, values, scales, sums, result, group, token
                    )
                elif single_4 and left >= 4:
                    step = 4
                    _sum_group(
                        which, 1, 4, weights, deltas, values, scales, sums, result, group, token
                    )
                else:
                    step = 1
                    _sum_group(
                        which, 1, 1, weights, deltas, values, scales, sums, result, group, token
                    )
                for t in range(step):
                    for lane in range(width):
                        out[token + t, row + lane] = result[t * lanes + lane]
                token += step
            group += n_groups

    return q40_q80


q40_q80: Any = make_q40_q80(variant())


@njit(cache=True, nogil=True)
def block_sums(values: Any, sums: Any) -> None:
    """Sums int32 (tokens, n / 32): -8 times the sum of each block of values int8 (tokens, n)."""
    for token in range(sums.shape[0]):
        for block in range(sums.shape[1]):
            total = np.int32(0)
            for i in range(block * _BLOCK, (block + 1) * _BLOCK):
                total = np.int32(total + np.int32(values[token, i]))
            sums[token, block] = np.int32(-8) * total
