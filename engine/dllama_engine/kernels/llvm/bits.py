"""Bits of numbers, and the fused product, which numba does not offer.

Half-precision numbers are integers here: numba has no float16 arrays, so they travel as uint16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _bits_to_f32(typingctx: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


def _bits_to_f64(typingctx: Any, bits: Any) -> Any:
    """The float64 that has these 64 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


bits_to_f32: Any = intrinsic(_bits_to_f32)
bits_to_f64: Any = intrinsic(_bits_to_f64)


def _f32_to_bits(typingctx: Any, value: Any) -> Any:
    """The 32 bits of a float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


f32_to_bits: Any = intrinsic(_f32_to_bits)


def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float32, rounded once: on every CPU, by a library's function if need be."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


fma: Any = intrinsic(_fma)


_SIGN = np.uint32(0x8000)
_MAGNITUDE = np.uint32(0x7FFF)
_TWO_112 = np.float32(2.0**112)  # moves the exponent bias from 15 to 127, subnormals included


@njit(inline="always")
def f16_to_f32(half: np.uint16) -> np.float32:
    """Finite half-precision bits -> float32, exactly."""
    bits = np.uint32(half)
    magnitude = bits_to_f32(np.uint32((bits & _MAGNITUDE) << np.uint32(13))) * _TWO_112
    sign = np.uint32((bits & _SIGN) << np.uint32(16))
    value: np.float32 = bits_to_f32(np.uint32(f32_to_bits(magnitude) | sign))
    return value


_F16_OVERFLOW = np.uint32(0x47800000)  # 65536.0
_F16_MIN_NORMAL = np.uint32(0x38800000)  # 2**-14
_DENORMAL_MAGIC = np.uint32(((127 - 15) + (23 - 10) + 1) << 23)
_REBIAS = np.uint32(((127 - 15) << 23) - 0xFFF)


@njit(inline="always")
def f32_to_f16(value: np.float32) -> np.uint16:
    """Float32 -> half-precision bits, to nearest, ties to even; too large becomes infinity."""
    bits = f32_to_bits(np.float32(value))
    sign = np.uint32((bits >> np.uint32(16)) & _SIGN)
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    if magnitude >= _F16_OVERFLOW:
        half = np.uint32(0x7C00)
    elif magnitude < _F16_MIN_NORMAL:
        shifted = bits_to_f32(magnitude) + bits_to_f32(_DENORMAL_MAGIC)
        half = np.uint32(f32_to_bits(np.float32(shifted)) - _DENORMAL_MAGIC)
    else:
        odd = np.uint32((magnitude >> np.uint32(13)) & np.uint32(1))
        half = np.uint32((magnitude - _REBIAS + odd) >> np.uint32(13))
    return np.uint16(half | sign)
