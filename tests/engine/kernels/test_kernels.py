"""Every kernel against its naive numpy twin, extremes included."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import EngineError, ModelFileError
from dllama_engine.formats.quants import (
    FloatType,
    decode_tensor,
    dequantize_q40,
    encode_tensor,
    quantize_q80,
)
from dllama_engine.kernels import cpu
from dllama_engine.kernels.layers import activation, norm
from dllama_engine.kernels.llvm import bits, exponential, lanes
from dllama_engine.kernels.matmul import packing, q40
from dllama_engine.program.linear import Activations, Linear
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.tables.blocks import STEPS

Floats = npt.NDArray[np.float32]
ONE_THREAD = ThreadTeam(1)
VARIANTS = cpu.available_variants()


def random_floats(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- numbers -----------------------------------------------------------------------------------


def test_every_finite_half_converts_both_ways() -> None:
    halves = np.arange(2**16, dtype=np.uint16)
    halves = halves[(halves & 0x7C00) != 0x7C00]
    expected = halves.view(np.float16).astype(np.float32)
    got = np.array([bits.f16_to_f32(half) for half in halves], np.float32)
    assert np.array_equal(got.view(np.uint32), expected.view(np.uint32))
    assert [int(bits.f32_to_f16(np.float32(x))) for x in expected[::97]] == halves[::97].tolist()


@settings(deadline=None)  # the first call compiles
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_f32_to_f16_rounds_as_numpy_does(value: float) -> None:
    with np.errstate(over="ignore"):
        expected = int(np.float32(value).astype(np.float16).view(np.uint16))
    assert int(bits.f32_to_f16(np.float32(value))) == expected


@settings(deadline=None)  # the first call compiles
@given(st.floats(-88, 88, width=32))
def test_fast_exp_is_within_its_stated_error(x: float) -> None:
    assert float(exponential.fast_exp(np.float32(x))) == pytest.approx(np.exp(x), rel=7e-5)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 100), st.integers(0, 10))
def test_dot_of_any_length(n: int, seed: int) -> None:
    a, b = random_floats(seed, n), random_floats(seed + 1, n)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert lanes.dot(a, b) == pytest.approx(exact, abs=1e-5 * max(1, n))


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 29), st.sampled_from([5, 8, 24, 64, 72, 128]), st.integers(0, 3),
    st.integers(0, 99),
)  # fmt: skip
def test_rows_against_a_vector(n: int, width: int, at: int, seed: int) -> None:
    """Products to the bit as `dot`; the weighted sum and the maximum as numpy's."""
    rows, vector, weights = (
        random_floats(seed + i, *s) for i, s in enumerate(((n, width), (at + width,), (at + n,)))
    )
    out = np.full(at + n + 1, np.float32(7))
    lanes.dots(vector, at, rows, out, at)
    expected = [lanes.dot(vector[at:], row) for row in rows]
    assert out.tolist() == [7] * at + expected + [7]
    mixed = np.zeros(at + width + 1, np.float32)
    lanes.add_weighted(weights, at, rows, mixed, at)
    assert np.allclose(mixed[at:-1], weights[at:].astype(np.float64) @ rows, atol=1e-5)
    assert not mixed[:at].any()
    assert mixed[-1] == 0
    assert lanes.largest(vector) == vector.max()


# -- products ----------------------------------------------------------------------------------


def naive_q40_q80(raw: Any, values: Any, scales: Any) -> npt.NDArray[np.float64]:
    """Exact in the integers, float64 in the sums."""
    weights = dequantize_q40(raw).astype(np.float64)
    tokens, n = values.shape
    x = values.reshape(tokens, -1, 32) * scales[:, :, None].astype(np.float64)
    return np.asarray(x.reshape(tokens, n) @ weights.T)


def run_q40(which: str, raw: Any, values: Any, scales: Any, first: int, last: int) -> Floats:
    rows, blocks = raw.shape[0], raw.shape[1] // 18
    weights = np.zeros((-(-rows // 8), blocks, STEPS, 32), np.uint8)
    deltas = np.zeros((-(-rows // 8), blocks, 8), np.uint16)
    assert packing.pack_q40(raw.ctypes.data, raw.strides[0], rows, weights, deltas, 0)
    sums = np.empty((len(values), blocks), np.int32)
    q40.block_sums(values, sums)
    out = np.full((len(values), rows), np.nan, np.float32)
    q40.make_q40_q80(which)(weights, deltas, values, scales, sums, out, first, last)
    return out


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_q40_variant_agrees_with_the_naive_twin_and_to_the_bit_with_the_others(
    rows: int, blocks: int, tokens: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (rows, blocks, 18), np.uint8)
    raw[..., 1] &= 0xBB  # deltas finite, of either sign, subnormal ones among them
    raw = raw.reshape(rows, -1)
    values = rng.integers(-127, 128, (tokens, 32 * blocks)).astype(np.int8)
    scales = rng.random((tokens, blocks), np.float32)
    expected = naive_q40_q80(raw, values, scales)
    results = [run_q40(which, raw, values, scales, 0, rows) for which in VARIANTS]
    tolerance = 1e-6 * max(1.0, np.abs(expected).max()) * blocks
    for which, result in zip(VARIANTS, results, strict=True):
        assert np.abs(result - expected).max() <= tolerance, which
        assert np.array_equal(result, results[0]), which


@pytest.mark.parametrize("which", VARIANTS)
@pytest.mark.parametrize("nibble", [0x00, 0xFF, 0x0F, 0xF0, 0x88])
@pytest.mark.parametrize("value", [-127, 127, -128, 0])
def test_extreme_values_do_not_overflow(which: str, nibble: int, value: int) -> None:
    raw = np.full((9, 2, 18), nibble, np.uint8)
    raw[..., :2] = np.array([1.0], np.float16).view(np.uint8)
    raw = raw.reshape(9, -1)
    values, scales = np.full((5, 64), value, np.int8), np.ones((5, 2), np.float32)
    got = run_q40(which, raw, values, scales, 0, 9)
    assert np.array_equal(got, naive_q40_q80(raw, values, scales))


@pytest.mark.parametrize("which", VARIANTS)
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize(("first", "last"), [(8, 19), (0, 37), (8, 43), (16, 17), (24, 24)])
def test_parts_of_rows_are_written_and_nothing_else(
    which: str, tokens: int, first: int, last: int
) -> None:
    """One token's product reads several places of the part at once; its end is none of 8 rows."""
    raw = encode_tensor(random_floats(3, 45, 64), FloatType.Q40)
    values = np.ones((tokens, 64), np.int8)
    scales = np.ones((tokens, 2), np.float32)
    whole = np.concatenate(
        [run_q40(which, raw[row : row + 1], values, scales, 0, 1) for row in range(45)], axis=1
    )
    part = run_q40(which, raw, values, scales, first, last)
    assert np.array_equal(part[:, first:last], whole[:, first:last])
    assert np.isnan(part[:, :first]).all()
    assert np.isnan(part[:, last:]).all()


def test_a_variant_that_the_cpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLAMA_KERNELS", "abacus")
    with pytest.raises(EngineError, match=r"DLLAMA_KERNELS=abacus: this CPU can run .*generic"):
        cpu.variant()
    monkeypatch.setenv("DLLAMA_KERNELS", "generic")
    assert cpu.variant() == "generic"


def test_the_label_of_the_cpu_names_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLLAMA_KERNELS", raising=False)
    assert cpu.cpu_label().endswith(f"(kernels: {VARIANTS[0]})")
    monkeypatch.setenv("DLLAMA_KERNELS", "generic")
    assert cpu.cpu_label().endswith("(kernels: generic, by DLLAMA_KERNELS)")
    monkeypatch.setenv("DLLAMA_KERNELS", "abacus")
    with pytest.raises(EngineError, match="DLLAMA_KERNELS=abacus"):
        cpu.cpu_label()


@pytest.mark.parametrize("weight_type", list(FloatType))
@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_linear_of_every_kind_is_a_matrix_product(
    weight_type: FloatType, buffer_type: FloatType, tokens: int, n_threads: int
) -> None:
    matrix, x = random_floats(5, 37, 96), random_floats(6, tokens, 96)
    raw = encode_tensor(matrix, weight_type)
    linear = Linear(37, 96, weight_type)
    linear.fill(raw[:10], 0, "first part")
    linear.fill(raw[10:], 10, "second part")
    inputs = Activations.zeros(8, 96, buffer_type, weight_type)
    out = np.empty((tokens, 37), np.float32)
    program, team = Program(1e-5, 8, n_threads), ThreadTeam(n_threads)
    program.load(x, inputs)
    program.matmul(linear, inputs, out)
    team.install(program.table())
    team.run(0, 2, tokens)
    team.close()
    rounded = decode_tensor(quantize_q80(x), FloatType.Q80) if buffer_type is FloatType.Q80 else x
    expected = rounded @ decode_tensor(raw, weight_type).T
    assert np.abs(out - expected).max() < 0.02 * np.abs(expected).max()
    exact = buffer_type is FloatType.F32
    assert np.abs(out - expected).max() < (1e-4 if exact else 0.1)


@pytest.mark.parametrize("weight_type", list(FloatType))
def test_values_that_are_not_finite_are_refused_by_name(weight_type: FloatType) -> None:
    raw = encode_tensor(np.ones((8, 64), np.float32), weight_type).copy()
    raw[3, 0:4] = 0xFF if weight_type is FloatType.F32 else raw[3, 0:4]
    raw[3, 0:2] = [0x00, 0x7C] if weight_type is not FloatType.F32 else raw[3, 0:2]
    with pytest.raises(ModelFileError, match=r"tensor w, layer 2: holds a .*not finite"):
        Linear(8, 64, weight_type).fill(raw, 0, "tensor w, layer 2")


# -- layers ------------------------------------------------------------------------------------


def test_rms_norm() -> None:
    x, weight = random_floats(7, 3, 40), random_floats(8, 40)
    out = np.empty_like(x)
    for row, normed in zip(x, out, strict=True):
        norm.norm_row(row, weight, np.float32(1e-5), normed)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-5) * weight
    assert np.allclose(out, expected, atol=1e-6)
    heads = x.copy()
    norm.rms_norm_heads(heads, weight[:8], np.float32(1e-5), 8, 3)
    part = x[:, 8:32].reshape(3, 3, 8)
    scaled = part / np.sqrt((part**2).mean(axis=2, keepdims=True) + 1e-5) * weight[:8]
    assert np.allclose(heads[:, 8:32], scaled.reshape(3, 24), atol=1e-6)
    assert np.array_equal(heads[:, :8], x[:, :8])


@pytest.mark.parametrize("kind", ["silu", "gelu"])
def test_activation(kind: str) -> None:
    gate_up = random_floats(9, 4, 30) * 4
    out = np.empty((4, 15), np.float32)
    for row, activated in zip(gate_up, out, strict=True):
        getattr(activation, f"{kind}_row")(row[:15], row[15:], activated)
    gate = gate_up[:, :15].astype(np.float64)
    silu = gate / (1 + np.exp(-gate))
    gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * gate * (1 + 0.044715 * gate**2)))
    expected = (silu if kind == "silu" else gelu) * gate_up[:, 15:]
    assert np.allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_activation_of_huge_gates_stays_finite() -> None:
    gate_up = np.array([[-1e4, 1e4, 1.0, 1.0]], np.float32)
    out = np.empty((1, 2), np.float32)
    activation.silu_row(gate_up[0, :2], gate_up[0, 2:], out[0])
    assert out[0, 1] == 1e4
    assert abs(out[0, 0]) < 1e-30


# -- threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_a_team_does_every_operation_once_and_in_order(n_threads: int) -> None:
    """x += part, many times over, then x += x: any chunk missed, doubled or early shows."""
    n, tokens = 1100, 5
    program = Program(1e-5, 8)
    x, part = np.zeros((8, n), np.float32), random_floats(10, 8, n)
    for _ in range(20):
        program.add_cast(part, x, is_q80=False)
        program.add_cast(x, x, is_q80=False)
    table, team = program.table(), ThreadTeam(n_threads)
    team.install(table)
    expected = np.zeros_like(x)
    for run in range(30):
        first = run % 7
        team.run(first, len(table), tokens)
        for op in range(first, len(table)):
            expected[:tokens] += expected[:tokens] if op % 2 else part[:tokens]
        assert np.array_equal(x, expected)
        x[:] = expected[:] = 0.0
    team.close()


def test_a_team_sleeps_and_wakes_and_ends() -> None:
    team = ThreadTeam(3)
    x, part = np.zeros((1, 4096), np.float32), np.ones((1, 4096), np.float32)
    program = Program(1e-5, 8)
    program.add_cast(part, x, is_q80=False)
    table = program.table()
    team.install(table)
    for run in range(1, 4):
        team.run(0, 1, 1)
        assert (x == run).all()
        time.sleep(0.02)  # the helpers have gone to sleep by now
    helpers = list(team._helpers)
    team.close()
    assert len(helpers) == 2
    assert not any(helper.is_alive() for helper in helpers)
