"""The exponential that dllama's vector units compute: fast, and part of its numbers.

exp(x) = 2^n * 2^f with n = round(x log2 e), 2^f by its Taylor series to the fourth power of
f ln 2: within 7e-5 of the truth. An exact exponential moves a logit by 1e-5 only, but Q80's
rounding turns that into differences half as large as those between two node counts.

What is fused is written out: numba inlines these functions before it compiles, and would take the
caller's permission to fuse instead of theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.bits import bits_to_f32, bits_to_f64, fma

_LOG2_E = np.float32(1.0 / math.log(2.0))
_C1, _C2, _C3, _C4 = (np.float32(math.log(2.0) ** k / math.factorial(k)) for k in range(1, 5))
_ONE = np.float32(1.0)
_LIMIT = np.float32(88.0)
_LOG2_E_64, _LN_2 = np.float64(1.0 / math.log(2.0)), np.float64(math.log(2.0))
_TAYLOR = tuple(np.float64(1.0 / math.factorial(k)) for k in range(14))


@njit(inline="always")
def fast_exp(x: Any) -> Any:
    """exp(x) of one float32, clamped to |x| <= 88; each step of the series is one fused product."""
    scaled = min(max(x, -_LIMIT), _LIMIT) * _LOG2_E
    whole = np.rint(scaled)
    f = scaled - whole
    power = fma(fma(fma(fma(_C4, f, _C3), f, _C2), f, _C1), f, _ONE)
    exponent = np.uint32(np.int32(whole) + np.int32(127)) << np.uint32(23)
    return power * bits_to_f32(np.uint32(exponent))


@njit(inline="always")
def tanh_f32(x: Any) -> Any:
    """tanh(x) of one float32, rounded from float64: the same on every host, and in vectors.

    1 - 2 / (exp(2x) + 1), the exponential by its Taylor series to the thirteenth power. The error
    before rounding is below 1e-15: for GELU, which adds 1, as good as the exact tangent. NaN gives
    some finite number, which GELU multiplies by NaN.
    """
    twice = min(max(np.float64(2.0) * np.float64(x), np.float64(-40.0)), np.float64(40.0))
    whole = np.rint(twice * _LOG2_E_64)
    f = twice - whole * _LN_2
    power = _TAYLOR[13]
    for k in range(12, -1, -1):
        power = power * f + _TAYLOR[k]
    exponent = (np.int64(np.int32(whole)) + np.int64(1023)) << np.int64(52)
    exponential = power * bits_to_f64(exponent)
    one = np.float64(1.0)
    return np.float32(one - (one + one) / (exponential + one))
