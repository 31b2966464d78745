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

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels import reading
from dllama_engine.kernels.cpu import variant
from dllama_engine.kernels.llvm.vectors import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    at,
    call,
    constant,
    fetch,
    halves_to_floats,
    joined,
    load,
    scaled,
    splat,
)
from dllama_engine.kernels.matmul.dots import DOTS
from dllama_engine.tables.blocks import BLOCK, LANES, STEPS

_MAX_TILE = 8  # tokens that share one reading of the weights
_BYTES = ir.VectorType(I8, 32)
_HALVES = ir.VectorType(I16, LANES)

# Tiles of tokens that share one reading of the weights, by groups of rows at once; what registers
# hold. VNNI takes two groups in one 64-byte register.
TILES: dict[str, dict[int, tuple[int, ...]]] = {
    "vnni": {2: (8, 4, 2, 1), 1: (4, 1)},
    "avx2": {1: (4, 1)},
    "dotprod": {1: (8, 4, 1)},
    "neon": {1: (4, 1)},
    "generic": {1: (4, 1)},
}


class Emitter:
    """Writes the code for some groups of rows and a tile of tokens.

    Args:
        builder: where to write.
        which: the variant.
        n_streams: places of the matrix, far from each other, that are read at once.
        n_groups: groups that stand one behind the other in a register, 1 or 2.
        n_tokens: tokens that share one reading of the weights.
    """

    def __init__(
        self, builder: Builder, which: str, n_streams: int, n_groups: int, n_tokens: int
    ) -> None:
        self.builder, self.n_groups, self.n_tokens = builder, n_groups, n_tokens
        self.n_streams = n_streams
        self.ahead = reading.of_one_token(which).ahead if n_streams > 1 else reading.ahead()
        self.which, self.dot = which, DOTS[which]
        self.lanes = n_groups * LANES
        self.ints = ir.VectorType(I32, self.lanes)
        self.floats = ir.VectorType(F32, self.lanes)
        self.bytes = ir.VectorType(I8, n_groups * BLOCK)

    def rows(self, pointers: list[Value], kind: ir.VectorType) -> Value:
        """The same of each group, one behind the other."""
        loaded = [load(self.builder, pointer, kind) for pointer in pointers]
        return loaded[0] if len(loaded) == 1 else joined(self.builder, *loaded)

    def nibbles(self, weights: list[Value]) -> list[Value]:
        """The block's weights as bytes 0 to 15: four vectors of low, then of high nibbles."""
        builder, low, high = self.builder, [], []
        for step in range(STEPS):
            offset = ir.Constant(I64, step * BLOCK)
            packed = self.rows([at(builder, pointer, offset) for pointer in weights], _BYTES)
            low.append(builder.and_(packed, constant(self.bytes, 15)))
            high.append(builder.lshr(packed, constant(self.bytes, 4)))
        return low + high

    def block_sums(self, nibbles: list[Value], x: Value, sums: Value, block: Value) -> Value:
        """Integer dot products of one token with the rows, float32 lanes."""
        builder, steps = self.builder, []
        for index, weights in enumerate(nibbles):
            offset = builder.add(scaled(builder, block, BLOCK), ir.Constant(block.type, 4 * index))
            four = load(builder, at(builder, x, offset), I32)
            steps.append((weights, splat(builder, four, self.lanes)))
        start = load(builder, at(builder, sums, scaled(builder, block, 4)), I32)
        total = self.dot(builder, steps, splat(builder, start, self.lanes))
        return builder.sitofp(total, self.floats)

    def emit(
        self, pointers: dict[str, Value], n_blocks: Value, distance: Value | None = None
    ) -> list[Value]:
        """The tile's sums: one vector of float lanes a token, stream after stream.

        Args:
            pointers: where the weights, deltas, values, scales and sums start.
            n_blocks: blocks of a row.
            distance: groups from one stream to the next; None if there is but one.
        """
        builder = self.builder
        zero = constant(self.floats, 0)
        totals = [
            [cgutils.alloca_once_value(builder, zero) for _ in range(self.n_tokens)]
            for _ in range(self.n_streams)
        ]
        with cgutils.for_range(builder, n_blocks) as loop:
            for stream, of_tokens in enumerate(totals):
                group: Value = ir.Constant(n_blocks.type, 0)
                if distance is not None:
                    group = scaled(builder, distance, stream)
                self.add_block(pointers, n_blocks, group, loop.index, of_tokens)
        return [builder.load(total) for of_tokens in totals for total in of_tokens]

    def add_block(
        self,
        pointers: dict[str, Value],
        n_blocks: Value,
        first_group: Value,
        block: Value,
        totals: list[Value],
    ) -> None:
        """Add one block's products to the totals of the tokens."""
        builder = self.builder
        groups = [
            builder.add(first_group, ir.Constant(block.type, group))
            for group in range(self.n_groups)
        ]
        places = [builder.add(block, builder.mul(n_blocks, group)) for group in groups]
        weights = [
            at(builder, pointers["weights"], scaled(builder, place, STEPS * BLOCK))
            for place in places
        ]
        delta_at = [
            at(builder, pointers["deltas"], scaled(builder, place, 2 * LANES)) for place in places
        ]
        for pointer, deltas in zip(weights, delta_at, strict=True):
            for n_bytes, level in self.ahead:
                fetch(builder, pointer, n_bytes, level)
                fetch(builder, pointer, n_bytes + 64, level)
            for n_bytes, _ in self.ahead[:1]:
                fetch(builder, deltas, n_bytes // 8, 1)
        nibbles = self.nibbles(weights)
        scales_of_rows = halves_to_floats(builder, self.rows(delta_at, _HALVES), self.which)
        for token, total in enumerate(totals):
            first = builder.mul(ir.Constant(block.type, token), n_blocks)
            x = at(builder, pointers["values"], scaled(builder, first, BLOCK))
            token_sums = at(builder, pointers["sums"], scaled(builder, first, 4))
            scale_at = at(
                builder, pointers["scales"], scaled(builder, builder.add(first, block), 4)
            )
            scale = splat(builder, load(builder, scale_at, F32), self.lanes)
            factors = builder.fmul(scales_of_rows, scale)
            dots = self.block_sums(nibbles, x, token_sums, block)
            fma = f"llvm.fma.v{self.lanes}f32"
            before = builder.load(total)
            builder.store(call(builder, fma, self.floats, dots, factors, before), total)


def _group_kernel(
    typingctx: Any, which: Any, n_streams: Any, n_groups: Any, n_tokens: Any,
    inputs: Any, result: Any, group: Any, token: Any, distance: Any,
) -> Any:  # fmt: skip
    """An intrinsic: result (streams, tokens, lanes) = sums of rows from `group` on.

    `which`, `n_streams`, `n_groups` and `n_tokens` must be constants; inputs are the first five
    arguments of `q40_q80`. The tokens are those from `token` on, the streams `distance` groups
    apart.
    """
    constants = (which, n_streams, n_groups, n_tokens)
    if not all(isinstance(value, types.Literal) for value in constants):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        names = ("weights", "deltas", "values", "scales", "sums")
        inputs_type, result_type = signature.args[4:6]
        arrays = {
            name: context.make_array(kind)(context, builder, value)
            for name, kind, value in zip(
                names, inputs_type, cgutils.unpack_tuple(builder, args[4]), strict=True
            )
        }
        arrays["result"] = context.make_array(result_type)(context, builder, args[5])
        n_blocks = cgutils.unpack_tuple(builder, arrays["deltas"].shape)[1]
        emitter = Emitter(builder, *(value.literal_value for value in constants))
        by_group = builder.mul(args[6], n_blocks)
        by_token = builder.mul(args[7], n_blocks)
        starts = {
            "weights": scaled(builder, by_group, STEPS * BLOCK),
            "deltas": scaled(builder, by_group, 2 * LANES),
            "values": scaled(builder, by_token, BLOCK),
            "scales": scaled(builder, by_token, 4),
            "sums": scaled(builder, by_token, 4),
        }
        bases = {
            name: builder.bitcast(array.data, I8.as_pointer()) for name, array in arrays.items()
        }
        pointers = {name: at(builder, bases[name], start) for name, start in starts.items()}
        for row, total in enumerate(emitter.emit(pointers, n_blocks, args[8])):
            offset = ir.Constant(n_blocks.type, row * emitter.lanes * 4)
            target = at(builder, bases["result"], offset)
            builder.store(total, builder.bitcast(target, emitter.floats.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(*constants, inputs, result, *[types.intp] * 3), codegen


sum_groups: Any = intrinsic(prefer_literal=True)(_group_kernel)


@njit(inline="always")
def _place(
    result: Any, out: Any, n_tokens: int, lanes: int, row: int, last: int, token: int
) -> None:
    """The tile's sums (n_tokens, lanes) into out, rows from `row` on and before `last`."""
    for t in range(n_tokens):
        for lane in range(min(lanes, last - row)):
            out[token + t, row + lane] = result[t * lanes + lane]


def make_q40_q80(which: str) -> Any:
    """The product for one variant, a nogil kernel; its name is part of the key of numba's cache."""
    # A tile that the variant lacks is never reached: the one below takes its tokens.
    pairs, singles = TILES[which].get(2, ()), TILES[which][1]
    pair_8, pair_4, pair_2 = 8 in pairs, 4 in pairs, 2 in pairs
    single_8, single_4 = 8 in singles, 4 in singles
    has_pairs = bool(pairs)
    streams = reading.of_one_token(which).streams

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
        inputs = (weights, deltas, values, scales, sums)
        n_tokens, group = values.shape[0], first // LANES
        result = np.empty(_MAX_TILE * 2 * LANES, np.float32)
        if n_tokens == 1:  # bound by memory, which far streams use better than one
            part = (last - first + LANES - 1) // LANES // streams
            for _ in range(part):
                sum_groups(which, streams, 1, 1, inputs, result, group, 0, part)
                for stream in range(streams):
                    row = (group + stream * part) * LANES
                    _place(result[stream * LANES :], out, 1, LANES, row, last, 0)
                group += 1
            group += (streams - 1) * part
        while group * LANES < last:
            row, token = group * LANES, 0
            n_groups = 2 if has_pairs and n_tokens > 1 and last - row > LANES else 1
            lanes = n_groups * LANES
            while token < n_tokens:
                left = n_tokens - token
                if has_pairs and n_groups == 2:
                    if pair_8 and left >= 8:
                        step = 8
                        sum_groups(which, 1, 2, 8, inputs, result, group, token, 0)
                    elif pair_4 and left >= 4:
                        step = 4
                        sum_groups(which, 1, 2, 4, inputs, result, group, token, 0)
                    elif pair_2 and left >= 2:
                        step = 2
                        sum_groups(which, 1, 2, 2, inputs, result, group, token, 0)
                    else:
                        step = 1
                        sum_groups(which, 1, 2, 1, inputs, result, group, token, 0)
                elif single_8 and left >= 8:
                    step = 8
                    sum_groups(which, 1, 1, 8, inputs, result, group, token, 0)
                elif single_4 and left >= 4:
                    step = 4
                    sum_groups(which, 1, 1, 4, inputs, result, group, token, 0)
                else:
                    step = 1
                    sum_groups(which, 1, 1, 1, inputs, result, group, token, 0)
                _place(result, out, step, lanes, row, last, token)
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
            for i in range(block * BLOCK, (block + 1) * BLOCK):
                total = np.int32(total + np.int32(values[token, i]))
            sums[token, block] = np.int32(-8) * total
