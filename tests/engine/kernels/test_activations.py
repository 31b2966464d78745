"""SiLU's exponential and GELU against what dllama's C++ computes, over floats of every size."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit

from dllama_engine.kernels.layers import activation
from dllama_engine.kernels.llvm import bits, exponential
from tests.engine.kernels import libm

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
ONE, HALF = np.float32(1.0), np.float32(0.5)
ROOT, CUBIC = np.float32(0.7978845608028654), np.float32(0.044715)  # as dllama rounds them
UNIT = 2.0**-24  # half a unit in the last place of 1.0, to either side at most by rounding
LEAST = 2.0**-149


def neighbours(values: Doubles, reach: int) -> Floats:
    """The float32 values nearest to each of some, and the `reach` about them; of both signs."""
    nearest = np.abs(values).astype(np.float32).view(np.int32)
    around = nearest[:, None] + np.arange(-reach, reach + 1, dtype=np.int32)
    magnitudes = np.clip(around, 0, 0x7F7FFFFF).astype(np.int32).view(np.float32).ravel()
    return np.concatenate([magnitudes, -magnitudes])


def of_every_exponent() -> Floats:
    """Finite floats: every exponent, subnormal too, first and last mantissas and many between."""
    spread = np.random.default_rng(0).integers(0, 2**23, 56)
    mantissas = np.concatenate([[0, 1, 2, 3, 2**22, 2**23 - 3, 2**23 - 2, 2**23 - 1], spread])
    exponents = np.arange(255, dtype=np.int64)[:, None] << 23
    magnitudes = (exponents | mantissas).astype(np.int32).view(np.float32).ravel()
    return np.concatenate([magnitudes, -magnitudes])


def gates_of(tangents: Doubles) -> Doubles:
    """The x > 0 for which GELU takes the tangent of these, by bisection."""
    low, high = np.zeros_like(tangents), np.full_like(tangents, 1e3)
    for _ in range(100):
        middle = (low + high) / 2
        above = float(ROOT) * middle * (1 + float(CUBIC) * middle**2) > tangents
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return high


@cache
def gates() -> Floats:
    """Where GELU could go wrong, and densely where it bends.

    Its tangent changes its way at 2x = (k + 1/2) ln 2, where the exponential's power of two
    changes, and at 20, where it is clamped; C libraries change theirs at 1 and 22, and near 9 it
    becomes 1.
    """
    powers = (np.arange(60) + 0.5) * np.log(2) / 2
    others = np.array([2.0**-12, 0.125, 0.5, 1.0, 9.0109, 10.0, 20.0, 22.0])
    square_overflows = np.sqrt(np.array([float(np.finfo(np.float32).max) / float(CUBIC)]))
    dense = np.random.default_rng(1).uniform(-12, 12, 150_000).astype(np.float32)
    return np.concatenate(
        [
            of_every_exponent(),
            neighbours(gates_of(np.concatenate([powers, others])), 100),
            neighbours(np.concatenate([square_overflows, others]), 100),
            dense,
        ]
    )


def ours(gate: Floats) -> Floats:
    out = np.empty_like(gate)
    activation.gelu_row(gate, np.ones_like(gate), out)
    return out


@np.errstate(over="ignore")
def inner(gate: Floats) -> Floats:
    """What GELU takes the tangent of, each operation rounded to float32."""
    return np.asarray(ROOT * gate * libm.fused(CUBIC * gate, gate, ONE))


@np.errstate(invalid="ignore")
def in_float32(gate: Floats, tangent: Floats) -> Floats:
    return np.asarray(HALF * gate * (ONE + tangent))


@np.errstate(over="ignore")
def exact(gate: Floats) -> Doubles:
    """The formula with dllama's constants, in float64."""
    x = gate.astype(np.float64)
    return np.asarray(0.5 * x * (1 + np.tanh(float(ROOT) * x * (1 + float(CUBIC) * x * x))))


def same(a: Floats, b: Floats) -> bool:
    """To the bit, any NaN like any other."""
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


# -- GELU --------------------------------------------------------------------------------------


def test_gelu_is_its_formula_but_for_the_rounding_of_its_steps() -> None:
    """Bound: |error| <= 2.7 u |x| + 2^-149, u = 2^-24, for every finite x.

    Four roundings precede the tangent, y' = y (1 + 4u) at most; y (1 - tanh(y)^2) is below 0.45, so
    that moves the tangent by 1.8 u; its own rounding by u / 2, that of 1 + tanh by u. Times |x| / 2
    that is 1.65 u |x|; the product's rounding adds u |x|, or half the least number. The largest
    that any of all 2^32 floats shows is 2.01 u |x|.
    """
    x = gates()
    error = np.abs(ours(x).astype(np.float64) - exact(x))
    assert (error <= 2.7 * UNIT * np.abs(x.astype(np.float64)) + LEAST).all()


def test_gelu_is_each_of_its_steps_in_float32_with_the_tangent_rounded_right() -> None:
    x = gates()
    tangent = np.tanh(inner(x).astype(np.float64)).astype(np.float32)
    assert same(ours(x), in_float32(x, tangent))


def test_gelu_is_that_of_dllama_up_to_its_library_s_tangent() -> None:
    """Bound: 4 u |x|, u = 2^-24; and nearly all are equal.

    glibc 2.36 has its `tanhf` off by 1.74 u at most, ours by u / 2, so that they differ by no more
    than 2 u, a whole number of u / 2. Each rounding of 1 + tanh adds u, which is 4 u times |x| / 2;
    each product's rounding adds u |x|. Of all 2^32 floats 0.25 % differ, by 3.5 u |x| at most. In
    units of the last place of GELU itself that may be many: near -5 it is a small multiple of u.
    """
    x = gates()
    theirs = in_float32(x, libm.apply("tanhf", inner(x)))
    difference = np.abs(ours(x).astype(np.float64) - theirs)
    assert (difference <= 4 * UNIT * np.abs(x.astype(np.float64))).all()
    bends = np.abs(x) < 12
    assert (difference[bends] != 0).mean() < 0.05


def test_gelu_of_what_is_not_finite_and_of_zeros_is_that_of_c() -> None:
    """-inf gives NaN, as 0 times infinity does in C++ too."""
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, -1e30, 1e30], np.float32)
    assert same(ours(x), in_float32(x, libm.apply("tanhf", inner(x))))
    assert ours(x)[0] == np.inf
    assert np.isnan(ours(x)[1:3]).all()


@pytest.mark.parametrize("row", [activation.gelu_row, activation.silu_row])
def test_a_value_does_not_depend_on_its_neighbours(row: object) -> None:
    """Vectors and the rest of a row compute the same, whatever its length."""
    assert callable(row)
    gate, up = gates()[::97], gates()[5::97][: len(gates()[::97])]
    gate = gate[: len(up)]
    whole, parts = np.empty_like(gate), np.empty_like(gate)
    row(gate, up, whole)
    start = 0
    for size in (1, 2, 3, 7, 8, 9, 15, 17, 33, len(gate)):
        stop = min(start + size, len(gate))
        row(gate[start:stop], up[start:stop], parts[start:stop])
        start = stop
    assert same(parts, whole)


@njit(error_model="numpy")
def tangents(x: Floats, out: Floats) -> None:
    for i in range(len(out)):
        out[i] = exponential.tanh_f32(x[i])


def test_the_tangent_is_within_half_a_unit_of_one() -> None:
    """2^-25, that of the largest tangents; small ones are no better, as GELU adds 1."""
    x = gates()
    out = np.empty_like(x)
    tangents(x, out)
    assert (
        np.abs(out.astype(np.float64) - np.tanh(x.astype(np.float64))) <= UNIT / 2 + 1e-15
    ).all()


# -- SiLU --------------------------------------------------------------------------------------


def exp_of_dllama(x: Floats) -> Floats:
    """The series of its AVX2 code, of |x| <= 88: every step one fused product."""
    logarithm = np.log(2.0)
    scaled = x * np.float32(1 / logarithm)
    whole = np.rint(scaled)
    f, power = scaled - whole, np.full_like(x, logarithm**4 / 24)
    for c in (logarithm**3 / 6, logarithm**2 / 2, logarithm, 1.0):
        power = libm.fused(power, f, np.float32(c))
    exponent = (whole.astype(np.int32) + 127) << 23
    return np.asarray(power * exponent.view(np.float32))


def test_silu_is_that_of_dllama_to_the_bit() -> None:
    x = gates()[np.abs(gates()) <= 87]
    out = np.empty_like(x)
    activation.silu_row(x, np.ones_like(x), out)
    assert same(out, x / (ONE + exp_of_dllama(-x)))


# -- the fused product -------------------------------------------------------------------------


@njit(error_model="numpy")
def fused_rows(a: Floats, b: Floats, c: Floats, out: Floats) -> None:
    for i in range(len(out)):
        out[i] = bits.fma(a[i], b[i], c[i])


@np.errstate(over="ignore", invalid="ignore")
def test_the_fused_product_rounds_once() -> None:
    a = of_every_exponent()
    rng = np.random.default_rng(2)
    b, c = rng.permutation(a), -a
    c = np.where(rng.random(len(a)) < 0.5, -(a * b), rng.permutation(a))  # half of them cancel
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0], np.float32)
    some = np.stack(np.meshgrid(special, special, special)).reshape(3, -1)
    a, b, c = (
        np.concatenate([part, more]).astype(np.float32)
        for part, more in zip((a, b, c), some, strict=True)
    )
    out = np.empty_like(a)
    fused_rows(a, b, c, out)
    assert same(out, libm.fused(a, b, c))
