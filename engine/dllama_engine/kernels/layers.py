"""What stands between the matrix products: norms, rope, the activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.bits import fma
from dllama_engine.kernels.exponential import fast_exp, tanh_f32
from dllama_engine.kernels.lanes import dot

_SQRT_2_OVER_PI, _CUBIC = np.float32(0.7978845608028654), np.float32(0.044715)


@njit(inline="always", error_model="numpy")
def _inverse_rms(x: Any, epsilon: Any) -> Any:
    mean = dot(x, x) / np.float32(x.shape[0])
    return np.float32(1.0) / np.sqrt(mean + epsilon)


@njit(nogil=True, error_model="numpy")
def norm_row(x: Any, weight: Any, epsilon: np.float32, out: Any) -> None:
    """out (n,) = x (n,) / sqrt(mean(x^2) + epsilon) * weight (n,)."""
    inverse = _inverse_rms(x, epsilon)
    for i in range(x.shape[0]):
        out[i] = weight[i] * (x[i] * inverse)


@njit(cache=True, nogil=True, error_model="numpy")
def rms_norm_heads(x: Any, weight: Any, epsilon: np.float32, first: int, n_heads: int) -> None:
    """Normalise heads in place: x (tokens, width), heads side by side from column `first`."""
    head_dim = weight.shape[0]
    for token in range(x.shape[0]):
        for head in range(n_heads):
            start = first + head * head_dim
            part = x[token, start : start + head_dim]
            inverse = _inverse_rms(part, epsilon)
            for i in range(head_dim):
                part[i] = weight[i] * (part[i] * inverse)


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
