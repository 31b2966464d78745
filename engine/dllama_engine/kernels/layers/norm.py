"""RMS norms, of whole rows and of heads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.lanes import dot


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
