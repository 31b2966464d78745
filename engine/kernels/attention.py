"""Causal grouped-query attention: the cache of K and V, and one token's heads against it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.bits import f16_to_f32, f32_to_f16
from engine.kernels.exponential import fast_exp
from engine.kernels.lanes import LANES, dot


@njit(cache=True, nogil=True)
def store_f32(qkv: Any, keys: Any, values: Any, pos: int, first_k: int, first_v: int) -> None:
    """Copy K and V of a batch into the cache.

    Args:
        qkv: float32 (tokens, width).
        keys: float32 (kv_heads, positions, head_dim), written at pos, pos + 1, ...
        values: likewise.
        pos: position of the first token.
        first_k: first column of K in qkv.
        first_v: first column of V.
    """
    n_kv, _, head_dim = keys.shape
    for token in range(qkv.shape[0]):
        for head in range(n_kv):
            for i in range(head_dim):
                keys[head, pos + token, i] = qkv[token, first_k + head * head_dim + i]
                values[head, pos + token, i] = qkv[token, first_v + head * head_dim + i]


@njit(cache=True, nogil=True)
def store_f16(qkv: Any, keys: Any, values: Any, pos: int, first_k: int, first_v: int) -> None:
    """The same for a cache of half-precision bits, uint16."""
    n_kv, _, head_dim = keys.shape
    for token in range(qkv.shape[0]):
        for head in range(n_kv):
            for i in range(head_dim):
                keys[head, pos + token, i] = f32_to_f16(qkv[token, first_k + head * head_dim + i])
                values[head, pos + token, i] = f32_to_f16(qkv[token, first_v + head * head_dim + i])


@njit(nogil=True, error_model="numpy")
def _softmax(scores: Any, ones: Any, n: int) -> None:
    """Softmax of scores[:n] in place; whole groups of 8 by `fast_exp`, the rest exactly."""
    peak = scores[0]
    for i in range(1, n):
        peak = max(peak, scores[i])
    whole = n - n % LANES
    for i in range(whole):
        scores[i] = fast_exp(scores[i] - peak)
    total = dot(scores[:whole], ones[:whole])
    for i in range(whole, n):
        scores[i] = np.exp(scores[i] - peak)
        total += scores[i]
    inverse = np.float32(1.0) / total
    for i in range(n):
        scores[i] *= inverse


@njit(inline="always", fastmath={"contract"})
def add_scaled(weight: np.float32, v: Any, mixed: Any) -> None:
    """mixed (n,) += weight * v (n,), fused."""
    for i in range(v.shape[0]):
        mixed[i] += weight * v[i]


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def attend_f32(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
    """Attention of one token's query heads [first, last), which share a K/V head.

    K and V are read once for all of them.

    Args:
        q: float32 (width,); query heads stand first.
        keys: float32 (positions, head_dim), what the token sees.
        values: likewise.
        out: float32 (heads * head_dim,), these heads' columns written.
        first: first head.
        last: one past the last head.
    """
    n, head_dim = keys.shape
    scores = np.empty((last - first, n), np.float32)
    ones = np.ones(n, np.float32)
    root = np.sqrt(np.float32(head_dim))
    for t in range(n):
        for head in range(last - first):
            start = (first + head) * head_dim
            scores[head, t] = dot(q[start : start + head_dim], keys[t]) / root
    for head in range(last - first):
        _softmax(scores[head], ones, n)
    out[first * head_dim : last * head_dim] = np.float32(0.0)
    for t in range(n):
        for head in range(last - first):
            start = (first + head) * head_dim
            add_scaled(scores[head, t], values[t], out[start : start + head_dim])


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def attend_f16(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
    """The same over a cache of half-precision bits, uint16."""
    n, head_dim = keys.shape
    scores = np.empty((last - first, n), np.float32)
    ones = np.ones(n, np.float32)
    row = np.empty(head_dim, np.float32)
    root = np.sqrt(np.float32(head_dim))
    for t in range(n):
        for i in range(head_dim):
            row[i] = f16_to_f32(keys[t, i])
        for head in range(last - first):
            start = (first + head) * head_dim
            scores[head, t] = dot(q[start : start + head_dim], row) / root
    for head in range(last - first):
        _softmax(scores[head], ones, n)
    out[first * head_dim : last * head_dim] = np.float32(0.0)
    for t in range(n):
        for i in range(head_dim):
            row[i] = f16_to_f32(values[t, i])
        for head in range(last - first):
            start = (first + head) * head_dim
            add_scaled(scores[head, t], row, out[start : start + head_dim])
