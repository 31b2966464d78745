"""Products of every kind of weights but Q40 x Q80, in every variant, against their plain twins.

The order of sums is part of the result: the twins add in the same order, one value at a time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.formats.quants import dequantize_q40
from dllama_engine.kernels import cpu
from dllama_engine.kernels.llvm import lanes
from dllama_engine.kernels.matmul import packing
from dllama_engine.kernels.matmul.q80 import make_q80_q80
from dllama_engine.kernels.matmul.variants import f16_f32, f32_f32, make_float_product
from dllama_engine.tables.blocks import STEPS

Floats = npt.NDArray[np.float32]
VARIANTS = cpu.available_variants()
ROWS, TOKENS = st.integers(1, 40), st.integers(1, 9)
SEEDS = st.integers(0, 2**32 - 1)

make_float_product = cache(make_float_product)
make_q80_q80 = cache(make_q80_q80)


def deltas_of(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.uint16]:
    """Finite half-precision numbers of either sign, zeros and subnormal ones among them."""
    bits = rng.integers(0, 2**16, shape).astype(np.uint16) & 0xBBFF
    bits[rng.random(shape) < 0.2] &= 0x83FF
    bits[rng.random(shape) < 0.1] = 0
    return bits


def twin(rows: Floats, x: Floats) -> Floats:
    """y = x W^T, each sum as `lanes.dot` adds it."""
    return np.array([[lanes.dot(row, token) for row in rows] for token in x], np.float32)


def same(a: Floats, b: Floats) -> bool:
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


def run(product: Any, weights: Any, deltas: Any, x: Floats, rows: int) -> Floats:
    """The whole matrix in two parts."""
    out = np.full((len(x), rows), np.nan, np.float32)
    middle = rows // 2 // 8 * 8
    product(weights, deltas, x, out, 0, middle)
    product(weights, deltas, x, out, middle, rows)
    return out


@settings(deadline=None, max_examples=25)
@given(ROWS, st.integers(1, 9), TOKENS, SEEDS)
def test_floats_times_floats(rows: int, eights: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 8 * eights
    weights, x = (rng.standard_normal((m, n)).astype(np.float32) for m in (rows, tokens))
    halves = deltas_of(rng, rows, n)
    wide = halves.view(np.float16).astype(np.float32)
    for which in VARIANTS:
        got = run(make_float_product(which, "f32"), weights, weights, x, rows)
        assert same(got, twin(weights, x)), which
        got = run(make_float_product(which, "f16"), halves, halves, x, rows)
        assert same(got, twin(wide, x)), which


@pytest.mark.parametrize("n", [1, 7, 9, 20, 39])
@pytest.mark.parametrize("tokens", [1, 6])
def test_columns_that_fill_no_vector_are_added_one_by_one(n: int, tokens: int) -> None:
    rng = np.random.default_rng(n)
    weights, x = (rng.standard_normal((m, n)).astype(np.float32) for m in (11, tokens))
    out = np.full((tokens, 11), np.nan, np.float32)
    f32_f32(weights, x, out, 0, 11)
    assert same(out, twin(weights, x))
    halves = weights.astype(np.float16)
    f16_f32(halves.view(np.uint16), x, out, 0, 11)
    assert same(out, twin(halves.astype(np.float32), x))


def quantized(rng: np.random.Generator, rows: int, blocks: int) -> tuple[Any, Any, Floats]:
    """Q80 weights and deltas, and what they mean."""
    weights = rng.integers(-128, 128, (rows, blocks, 32)).astype(np.int8)
    deltas = deltas_of(rng, rows, blocks)
    scale = deltas.view(np.float16).astype(np.float32)
    return weights, deltas, (weights * scale[..., None]).reshape(rows, -1)


@settings(deadline=None, max_examples=25)
@given(ROWS, st.integers(1, 4), TOKENS, SEEDS)
def test_quantized_weights_times_floats(rows: int, blocks: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, 32 * blocks)).astype(np.float32)
    weights, deltas, meaning = quantized(rng, rows, blocks)
    raw = rng.integers(0, 256, (rows, blocks, 18), np.uint8)
    raw[..., :2] = deltas_of(rng, rows, blocks).view(np.uint8).reshape(rows, blocks, 2)
    raw = raw.reshape(rows, -1)
    groups = -(-rows // 8)
    packed = np.zeros((groups, blocks, STEPS, 32), np.uint8)
    packed_deltas = np.zeros((groups, blocks, 8), np.uint16)
    assert packing.pack_q40(raw.ctypes.data, raw.strides[0], rows, packed, packed_deltas, 0)
    for which in VARIANTS:
        got = run(make_float_product(which, "q80"), weights, deltas, x, rows)
        assert same(got, twin(meaning, x)), which
        got = run(make_float_product(which, "q40"), packed, packed_deltas, x, rows)
        assert same(got, twin(dequantize_q40(raw), x)), which


def q80_twin(weights: Any, deltas: Any, values: Any, scales: Floats) -> Floats:
    """Blocks one after the other: an exact sum, times both scales, added."""
    scale = deltas.view(np.float16).astype(np.float32)
    blocks = values.reshape(len(values), -1, 32).astype(np.int64)
    sums = np.einsum("rbi,tbi->trb", weights.astype(np.int64), blocks).astype(np.float32)
    products = sums * (scale[None] * scales[:, None])
    total = np.zeros(products.shape[:2], np.float32)
    for block in range(products.shape[2]):
        total += products[:, :, block]
    return total


@settings(deadline=None, max_examples=25)
@given(ROWS, st.integers(1, 4), TOKENS, SEEDS)
def test_q80_times_q80(rows: int, blocks: int, tokens: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, deltas, _ = quantized(rng, rows, blocks)
    values = rng.integers(-128, 128, (tokens, 32 * blocks)).astype(np.int8)
    scales = rng.random((tokens, blocks), np.float32)
    expected = q80_twin(weights, deltas, values, scales)
    for which in VARIANTS:
        out = np.full((tokens, rows), np.nan, np.float32)
        middle = rows // 3
        make_q80_q80(which)(weights, deltas, values, scales, out, 0, middle)
        make_q80_q80(which)(weights, deltas, values, scales, out, middle, rows)
        assert same(out, expected), which


@pytest.mark.parametrize("which", VARIANTS)
@pytest.mark.parametrize("weight", [-128, -127, 127, 0])
@pytest.mark.parametrize("value", [-128, -127, 127, 0])
def test_extremes_of_q80_do_not_overflow(which: str, weight: int, value: int) -> None:
    weights = np.full((9, 2, 32), weight, np.int8)
    deltas = np.full((9, 2), np.float16(1.0).view(np.uint16), np.uint16)
    for tokens in (1, 5):
        values, scales = np.full((tokens, 64), value, np.int8), np.ones((tokens, 2), np.float32)
        out = np.empty((tokens, 9), np.float32)
        make_q80_q80(which)(weights, deltas, values, scales, out, 0, 9)
        assert (out == 64 * weight * value).all()


@pytest.mark.parametrize("which", VARIANTS)
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize(("first", "last"), [(0, 5), (8, 21), (16, 17), (24, 24)])
def test_parts_are_written_and_nothing_else(which: str, tokens: int, first: int, last: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((tokens, 64)).astype(np.float32)
    weights, deltas, _ = quantized(rng, 30, 2)
    values, scales = np.ones((tokens, 64), np.int8), np.ones((tokens, 2), np.float32)
    groups = rng.integers(0, 256, (4, 2, 4, 32), np.uint8), deltas_of(rng, 4, 2, 8)
    floats = rng.standard_normal((30, 64)).astype(np.float32)
    inside = np.zeros((tokens, 30), bool)
    inside[:, first:last] = True

    def wrote_its_part(product: Any, *arguments: Any) -> bool:
        out = np.full((tokens, 30), np.nan, np.float32)
        product(*arguments, out, first, last)
        return np.array_equal(np.isfinite(out), inside)

    assert wrote_its_part(make_float_product(which, "f32"), floats, floats, x)
    assert wrote_its_part(make_float_product(which, "q80"), weights, deltas, x)
    assert wrote_its_part(make_float_product(which, "q40"), *groups, x)
    assert wrote_its_part(make_q80_q80(which), weights, deltas, values, scales)
