"""What stands between the matrix products: norms, rope, the activation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.exponential import fast_exp
from engine.kernels.lanes import dot

_SQRT_2_OVER_PI = np.float32(0.7978845608028654)


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


@njit(cache=True, nogil=True)
def rms_norm(x: Any, weight: Any, epsilon: np.float32, out: Any) -> None:
    """The same for rows: x and out (rows, n)."""
    for row in range(x.shape[0]):
        norm_row(x[row], weight, epsilon, out[row])


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


@njit(cache=True, nogil=True, fastmath={"contract"})
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
    half = cos.shape[1]
    for token in range(x.shape[0]):
        for head in range(n_heads):
            start = first + head * 2 * half
            for i in range(half):
                a, b = x[token, start + 2 * i], x[token, start + 2 * i + 1]
                c, s = cos[pos + token, i], sin[pos + token, i]
                x[token, start + 2 * i] = a * c - b * s
                x[token, start + 2 * i + 1] = a * s + b * c


@njit(cache=True, nogil=True, fastmath={"contract"})
def rope_halves(x: Any, cos: Any, sin: Any, pos: int, first: int, n_heads: int) -> None:
    """Rotate pairs (j, j + head_dim / 2) in place (Falcon kind); arguments as above."""
    half = cos.shape[1]
    for token in range(x.shape[0]):
        for head in range(n_heads):
            start = first + head * 2 * half
            for j in range(half):
                a, b = x[token, start + j], x[token, start + half + j]
                c, s = cos[pos + token, j], sin[pos + token, j]
                x[token, start + j] = a * c - b * s
                x[token, start + half + j] = a * s + b * c


@njit(nogil=True, error_model="numpy")
def silu_row(gate: Any, up: Any, out: Any) -> None:
    """out (n,) = silu(gate) * up."""
    one = np.float32(1.0)
    for i in range(out.shape[0]):
        out[i] = gate[i] / (one + fast_exp(-gate[i])) * up[i]


@njit(nogil=True, error_model="numpy")
def gelu_row(gate: Any, up: Any, out: Any) -> None:
    """The same with GELU (tanh form), as dllama computes it."""
    one = np.float32(1.0)
    for i in range(out.shape[0]):
        x = gate[i]
        inner = _SQRT_2_OVER_PI * x * (one + np.float32(0.044715) * x * x)
        out[i] = np.float32(0.5) * x * (one + np.tanh(inner)) * up[i]


@njit(cache=True, nogil=True)
def silu_mul(gate_up: Any, out: Any) -> None:
    """out (rows, n) = silu(gate) * up, with gate_up (rows, 2n) holding gate, then up."""
    n = out.shape[1]
    for row in range(out.shape[0]):
        silu_row(gate_up[row, :n], gate_up[row, n:], out[row])


@njit(cache=True, nogil=True)
def gelu_mul(gate_up: Any, out: Any) -> None:
    """The same with GELU."""
    n = out.shape[1]
    for row in range(out.shape[0]):
        gelu_row(gate_up[row, :n], gate_up[row, n:], out[row])
