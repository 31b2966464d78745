"""The activation of the feed-forward: SiLU and GELU, times the gate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.bits import fma
from dllama_engine.kernels.llvm.exponential import fast_exp, tanh_f32

_SQRT_2_OVER_PI, _CUBIC = np.float32(0.7978845608028654), np.float32(0.044715)


@njit(nogil=True, error_model="numpy")
def silu_row(gate: Any, up: Any, out: Any) -> None:
    """out (n,) = silu(gate) * up."""
    one = np.float32(1.0)
    for i in range(out.shape[0]):
        out[i] = gate[i] / (one + fast_exp(-gate[i])) * up[i]


@njit(nogil=True, error_model="numpy")
def gelu_row(gate: Any, up: Any, out: Any) -> None:
    """out (n,) = gelu(gate) * up, gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) x (1 + 0.044715 x^2))).

    In float32 and in this order, the last sum fused, as compilers translate dllama's `gelu_F32`. It
    is within 2.7 * 2^-24 |x| of the formula, and within 4 * 2^-24 |x| of dllama with glibc's
    `tanhf`, which is not rounded right everywhere, nor alike in all libraries.
    """
    one = np.float32(1.0)
    for i in range(out.shape[0]):
        x = gate[i]
        inner = _SQRT_2_OVER_PI * x * fma(_CUBIC * x, x, one)
        out[i] = np.float32(0.5) * x * (one + tanh_f32(inner)) * up[i]
