"""Rotary position embedding, both ways to pair the values of a head, eight pairs at a time.

(a, b) becomes (a cos - b sin, a sin + b cos), where a cos and b cos are the fused products.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from dllama_engine.kernels.llvm.bits import fma
from dllama_engine.kernels.llvm.vectors import F32, I32, Builder, Value, call, parts

_LANES = 8
_FLOATS, _PAIRS = ir.VectorType(F32, _LANES), ir.VectorType(F32, 2 * _LANES)
_NEIGHBOURS, _HALVES = 1, 0
_EVEN_THEN_ODD = [*range(0, 16, 2), *range(1, 16, 2)]
_ALTERNATING = [place + 8 * odd for place in range(8) for odd in (0, 1)]


def _shuffled(builder: Builder, vector: Value, places: list[int]) -> Value:
    mask = ir.Constant(ir.VectorType(I32, len(places)), places)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _rotated(builder: Builder, pair: list[Value], cos: Value, sin: Value) -> list[Value]:
    fma, (a, b) = "llvm.fma.v8f32", pair
    negative = builder.fneg(builder.fmul(b, sin))
    first = call(builder, fma, _FLOATS, a, cos, negative)
    return [first, call(builder, fma, _FLOATS, b, cos, builder.fmul(a, sin))]


def _rotate_eight(
    typingctx: Any, kind: Any, x: Any, place: Any, half: Any, cos: Any, sin: Any, angle: Any
) -> Any:
    """An intrinsic: rotate eight pairs of x in place, by cos and sin from `angle` on.

    All places count values from the array's start. `kind`, a constant, says where the pairs are:
    _NEIGHBOURS from `place` on, _HALVES at `place` and `place + half`.
    """
    if not isinstance(kind, types.IntegerLiteral):
        return None  # numba asks again with literal types

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, cosines, sines = (
            context.make_array(signature.args[i])(context, builder, args[i]).data for i in (1, 4, 5)
        )

        def pointer(data: Any, index: Any, vector: ir.VectorType = _FLOATS) -> Any:
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        c = builder.load(pointer(cosines, args[6]), align=4)
        s = builder.load(pointer(sines, args[6]), align=4)
        if kind.literal_value == _NEIGHBOURS:
            target = pointer(values, args[2], _PAIRS)
            pairs = _shuffled(builder, builder.load(target, align=4), _EVEN_THEN_ODD)
            rotated = _rotated(builder, parts(builder, pairs, _LANES), c, s)
            mask = ir.Constant(ir.VectorType(I32, 2 * _LANES), _ALTERNATING)
            builder.store(builder.shuffle_vector(*rotated, mask), target, align=4)
        else:
            ends = (args[2], builder.add(args[2], args[3]))
            targets = [pointer(values, end) for end in ends]
            loaded = [builder.load(target, align=4) for target in targets]
            for value, target in zip(_rotated(builder, loaded, c, s), targets, strict=True):
                builder.store(value, target, align=4)
        return context.get_dummy_value()

    return types.void(kind, x, types.intp, types.intp, cos, sin, types.intp), codegen


_rotate: Any = intrinsic(prefer_literal=True)(_rotate_eight)


@njit(cache=True, nogil=True)
def rope_neighbours(x: Any, cos: Any, sin: Any, pos: int, first: int, n_heads: int) -> None:
    """Rotate pairs (2i, 2i+1) in place (Llama kind).

    Args:
        x: float32 (tokens, width), heads side by side from column `first`.
        cos: float32 (positions, head_dim / 2).
        sin: likewise.
        pos: position of the first token.
        first: first column of the heads.
        n_heads: how many heads.
    """
    half, width = cos.shape[1], x.shape[1]
    whole = half - half % _LANES
    for token in range(x.shape[0]):
        angle = (pos + token) * half
        for head in range(n_heads):
            start = first + head * 2 * half
            for i in range(0, whole, _LANES):
                place = token * width + start + 2 * i
                _rotate(_NEIGHBOURS, x, place, half, cos, sin, angle + i)
            for i in range(whole, half):
                a, b = x[token, start + 2 * i], x[token, start + 2 * i + 1]
                c, s = cos[pos + token, i], sin[pos + token, i]
                x[token, start + 2 * i] = fma(a, c, -(b * s))
                x[token, start + 2 * i + 1] = fma(b, c, a * s)


@njit(cache=True, nogil=True)
def rope_halves(x: Any, cos: Any, sin: Any, pos: int, first: int, n_heads: int) -> None:
    """Rotate pairs (j, j + head_dim / 2) in place (Falcon kind); arguments as above."""
    half, width = cos.shape[1], x.shape[1]
    whole = half - half % _LANES
    for token in range(x.shape[0]):
        angle = (pos + token) * half
        for head in range(n_heads):
            start = first + head * 2 * half
            for j in range(0, whole, _LANES):
                place = token * width + start + j
                _rotate(_HALVES, x, place, half, cos, sin, angle + j)
            for j in range(whole, half):
                a, b = x[token, start + j], x[token, start + half + j]
                c, s = cos[pos + token, j], sin[pos + token, j]
                x[token, start + j] = fma(a, c, -(b * s))
                x[token, start + half + j] = fma(b, c, a * s)
