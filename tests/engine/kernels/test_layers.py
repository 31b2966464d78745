"""What stands between the products against naive numpy twins: any sizes, extremes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dllama_engine.formats.quants import FloatType, decode_tensor, quantize_q80
from dllama_engine.kernels.layers import activation, attention, norm, rope
from dllama_engine.kernels.llvm import casts

Floats = npt.NDArray[np.float32]
SEEDS = st.integers(0, 2**32 - 1)
FLAGS = {"none": 0, "sums": 2, "floats": 4, "both": 6}


def random_floats(rng: np.random.Generator, *shape: int) -> Floats:
    """Of all sizes, with zeros."""
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 4, shape)
    values[rng.random(shape) < 0.1] = 0.0
    return values.astype(np.float32)


# -- attention ---------------------------------------------------------------------------------


def naive_attention(q: Any, keys: Any, values: Any) -> npt.NDArray[np.float64]:
    """q (heads, head_dim) against keys and values (positions, head_dim), in float64."""
    q, keys, values = (array.astype(np.float64) for array in (q, keys, values))
    scores = q @ keys.T / np.sqrt(q.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True) @ values)


def attend(q: Floats, keys: Floats, values: Floats, first: int, half: bool) -> Floats:
    """The heads from `first` on, through a cache of either kind; others must stay as they are."""
    return attend_tokens(q[None], keys, values, first, half)[0]


def attend_tokens(q: Floats, keys: Floats, values: Floats, first: int, half: bool) -> Floats:
    """The same of several tokens, q (tokens, heads, head_dim), of which the last one sees all."""
    tokens, heads, head_dim = q.shape
    out = np.full((tokens, heads + 2, head_dim), np.nan, np.float32)
    all_q = np.full((tokens, heads + 2, head_dim), np.nan, np.float32)
    all_q[:, first : first + heads] = q
    flat_q, flat_out = (array.reshape(tokens, -1) for array in (all_q, out))
    if half:
        cache = [array.astype(np.float16).view(np.uint16) for array in (keys, values)]
        kernel = attention.attend_f16
    else:
        cache, kernel = [keys, values], attention.attend_f32
    kernel(flat_q, *cache, flat_out, first, first + heads)
    outside = np.ones(heads + 2, bool)
    outside[first : first + heads] = False
    assert np.isnan(out[:, outside]).all()
    return out[:, first : first + heads]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9),
    st.one_of(st.integers(1, 12), st.integers(60, 200)),
    st.sampled_from([2, 6, 8, 10, 32, 64, 72, 128]),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0, 30.0]),
    SEEDS,
)
def test_attention_of_heads_that_share_k_and_v(
    heads: int, n: int, head_dim: int, first: int, half: bool, size: float, seed: int
) -> None:
    """Sizes about the tile of 64 positions; `size`: from all alike to one that takes all."""
    rng = np.random.default_rng(seed)
    q, keys, values = (
        rng.standard_normal((rows, head_dim)).astype(np.float32) for rows in (heads, n, n)
    )
    keys *= np.float32(size)
    if half:
        keys, values = (a.astype(np.float16).astype(np.float32) for a in (keys, values))
    got = attend(q, keys, values, first, half)
    expected = naive_attention(q, keys, values)
    # fast_exp is within 7e-5; where scores are large, their own rounding counts too
    tolerance = 3e-4 * (1 + size) * np.abs(values).max()
    assert np.abs(got - expected).max() <= tolerance


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 19),
    st.sampled_from([1, 1, 2, 3, 5, 8]),
    st.one_of(st.integers(0, 12), st.integers(50, 200)),
    st.sampled_from([6, 8, 16, 24, 32, 64, 72, 128]),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 30.0]),
    SEEDS,
)
def test_tokens_together_get_the_bits_that_each_gets_alone(
    tokens: int, heads: int, pos: int, head_dim: int, half: bool, size: float, seed: int
) -> None:
    """And each head of a token. What a token does not see may be anything, NaN too."""
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((tokens, heads, head_dim)).astype(np.float32)
    keys, values = (
        rng.standard_normal((pos + tokens, head_dim)).astype(np.float32) for _ in range(2)
    )
    keys *= np.float32(size)
    values[rng.random(values.shape) < 0.1] = -0.0
    keys[-1], values[-1] = np.inf, np.nan
    got = attend_tokens(q, keys, values, 1, half)
    for token in range(tokens - 1):  # the last one sees them
        sees = pos + token + 1
        for head in range(heads):
            alone = attend(q[token, head : head + 1], keys[:sees], values[:sees], 0, half)
            assert got[token, head].tobytes() == alone[0].tobytes()


def test_a_half_precision_cache_gives_what_its_values_mean_even_the_smallest() -> None:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((4, 64)).astype(np.float32)
    keys, values = (
        (rng.standard_normal((70, 64)) * 2.0**-20).astype(np.float16).astype(np.float32)
        for _ in range(2)
    )
    assert np.array_equal(attend(q, keys, values, 0, True), attend(q, keys, values, 0, False))


@pytest.mark.parametrize("half", [False, True])
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([2, 8, 10]), st.integers(0, 5), SEEDS)
def test_k_and_v_land_in_their_places(
    half: bool, tokens: int, kv_heads: int, head_dim: int, pos: int, seed: int
) -> None:
    rng, width = np.random.default_rng(seed), kv_heads * head_dim
    qkv = random_floats(rng, tokens, 3 + 2 * width)
    shape, kind = (kv_heads, 12, head_dim), np.uint16 if half else np.float32
    keys, values = np.full(shape, 7, kind), np.full(shape, 7, kind)
    store = attention.store_f16 if half else attention.store_f32
    store(qkv, keys, values, pos, 3, 3 + width)
    for cache, first in ((keys, 3), (values, 3 + width)):
        stored = qkv[:, first : first + width].reshape(tokens, kv_heads, head_dim).swapaxes(0, 1)
        expected = np.full(shape, 7, kind)
        new = stored.astype(np.float16).view(np.uint16) if half else stored
        expected[:, pos : pos + tokens] = new
        assert np.array_equal(cache, expected)


# -- rope, norms -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["neighbours", "halves"])
@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from([1, 3, 4, 8, 12, 16, 32, 40, 64]),
    st.integers(0, 5),
    st.integers(0, 4),
    SEEDS,
)
def test_rope_turns_pairs(
    kind: str, tokens: int, heads: int, half: int, first: int, pos: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = random_floats(rng, tokens, first + heads * 2 * half + 3)
    angles = rng.uniform(-3, 3, (10, half))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    pairs = x[:, first:-3].reshape(tokens, heads, 2 * half).astype(np.float64)
    if kind == "neighbours":
        pairs = pairs.reshape(tokens, heads, half, 2)
    else:
        pairs = pairs.reshape(tokens, heads, 2, half).swapaxes(2, 3)
    c, s = (array[pos : pos + tokens, None].astype(np.float64) for array in (cos, sin))
    a, b = pairs[..., 0], pairs[..., 1]
    turned = np.stack([a * c - b * s, a * s + b * c], axis=-1)
    if kind == "halves":
        turned = turned.swapaxes(2, 3)
    got = x.copy()
    getattr(rope, f"rope_{kind}")(got, cos, sin, pos, first, heads)
    assert np.array_equal(got[:, :first], x[:, :first])
    assert np.array_equal(got[:, -3:], x[:, -3:])
    result = got[:, first:-3].reshape(turned.shape)
    size = np.repeat(np.hypot(a, b)[..., None], 2, axis=-1).reshape((*a.shape, 2))
    size = size.swapaxes(2, 3) if kind == "halves" else size
    assert (np.abs(result - turned) <= 2e-7 * size + 1e-38).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 200), st.sampled_from([1e-5, 1e-6]), SEEDS)
def test_norms_of_any_size(rows: int, n: int, epsilon: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = random_floats(rng, rows, n), random_floats(rng, n)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + epsilon) * weight
    out = np.empty_like(x)
    for row, normed in zip(x, out, strict=True):
        norm.norm_row(row, weight, np.float32(epsilon), normed)
    assert np.allclose(out, expected, rtol=2e-6, atol=1e-37)
    heads = np.concatenate([x, x, x], axis=1)
    norm.rms_norm_heads(heads, weight, np.float32(epsilon), n, 1)
    assert np.array_equal(heads[:, n : 2 * n], out)
    assert np.array_equal(heads[:, :n], x)
    assert np.array_equal(heads[:, 2 * n :], x)


def test_a_norm_of_nothing_is_nothing() -> None:
    out = np.empty((1, 16), np.float32)
    norm.norm_row(np.zeros(16, np.float32), np.ones(16, np.float32), np.float32(1e-5), out[0])
    assert not out.any()


# -- activations -------------------------------------------------------------------------------

GATES = st.integers(1, 70).flatmap(
    lambda n: arrays(np.float32, (2, n), elements=st.floats(-2e3, 2e3, width=32))
)


@settings(deadline=None)
@given(GATES)
def test_silu_of_any_gate(gate_up: Floats) -> None:
    gate, up = gate_up
    out = np.empty_like(gate)
    activation.silu_row(gate, up, out)
    with np.errstate(over="ignore"):
        exact = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64)))
    # below -88 the exponential stays where it is: what is left is next to nothing
    assert np.allclose(out, exact * up, rtol=1e-4, atol=1e-30)


# -- casts and sums ----------------------------------------------------------------------------

BLOCKS = st.integers(1, 3).flatmap(
    lambda n: arrays(np.float32, 32 * n, elements=st.floats(-6e4, 6e4, width=32))
)


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
@settings(deadline=None)
@given(BLOCKS, SEEDS)
def test_a_cast_gives_values_scales_sums_and_floats(flags: int, x: Floats, seed: int) -> None:
    n, blocks = len(x), len(x) // 32
    first = 32 * int(np.random.default_rng(seed).integers(0, blocks))
    values, scales = np.full(n, 99, np.int8), np.full(blocks, 99, np.float32)
    sums, floats = np.full(blocks, 99, np.int32), np.full(n, 99, np.float32)
    casts.cast_q80(x, values, scales, sums, floats, flags, first, n)
    stored = quantize_q80(x[None]).reshape(blocks, 34)
    a = first // 32
    assert np.array_equal(
        scales[a:], stored[a:, :2].copy().view(np.float16)[:, 0].astype(np.float32)
    )
    # halves: the reference rounds them to even, dllama's vector code away from zero
    difference = values.reshape(blocks, 32)[a:] - stored[a:, 2:].view(np.int8).astype(int)
    assert np.abs(difference).max() <= 1
    assert (values[:first] == 99).all()
    assert (scales[:a] == 99).all()
    own = values.reshape(blocks, 32)[a:].astype(np.int64)
    assert np.array_equal(sums[a:], -8 * own.sum(axis=1) if flags & 2 else np.full(blocks - a, 99))
    meant = (own * scales[a:, None]).astype(np.float32).ravel()
    assert np.array_equal(floats[first:], meant if flags & 4 else np.full(n - first, 99))


@settings(deadline=None)
@given(BLOCKS)
def test_adding_through_q80_adds_what_the_wire_would_bring(partial: Floats) -> None:
    x = np.linspace(-1, 1, len(partial), dtype=np.float32)
    got = x.copy()
    casts.add_through_q80(partial, got, 0, len(x))
    values, scales = np.empty(len(x), np.int8), np.empty(len(x) // 32, np.float32)
    sums, floats = np.empty(len(scales), np.int32), np.empty(len(x), np.float32)
    casts.cast_q80(partial, values, scales, sums, floats, 4, 0, len(x))
    assert np.array_equal(got, x + floats)
    meant = decode_tensor(quantize_q80(partial[None]), FloatType.Q80)[0]
    step = np.repeat(scales, 32)  # a half may be rounded either way
    assert (np.abs(floats - meant) <= step * np.float32(1.001)).all()


@pytest.mark.parametrize("size", [0.0, 1e-45, 2.0**-24 * 127, 2.0**-14 * 127, 65504.0 * 127])
def test_blocks_of_zeros_and_of_the_smallest_and_largest_scales(size: float) -> None:
    x = np.full(32, size, np.float32)
    x[::2] = -x[::2]
    values, scales = np.empty(32, np.int8), np.empty(1, np.float32)
    sums, floats = np.empty(1, np.int32), np.empty(32, np.float32)
    casts.cast_q80(x, values, scales, sums, floats, 6, 0, 32)
    assert scales[0] == np.float32(np.float16(np.float32(size) / np.float32(127)))
    assert sums[0] == 0
    assert np.array_equal(floats, values * scales[0])
    if scales[0] > 0:
        assert np.array_equal(np.abs(values), np.full(32, 127))
        assert np.array_equal(floats, x)
    else:
        assert np.abs(floats).max() == 0
