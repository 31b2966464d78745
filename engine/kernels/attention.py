"""Causal grouped-query attention over the local heads, for one token or a batch of them."""

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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, fastmath={"contract"})
def attend_f32(
    qkv: Any, keys: Any, values: Any, kv_of_head: Any, out: Any, pos: int, first: int, last: int
) -> None:
    """Attention of the heads [first, last).

    Args:
        qkv: float32 (tokens, width); query heads stand first.
        keys: float32 (kv_heads, positions, head_dim).
        values: likewise.
        kv_of_head: int64 (heads,): the local K/V head that each local query head reads.
        out: float32 (tokens, heads * head_dim), columns of these heads written.
        pos: position of the first token; token t sees positions 0 to pos + t.
        first: first head.
        last: one past the last head.
    """
    head_dim = keys.shape[2]
    root = np.sqrt(np.float32(head_dim))
    scores = np.empty(pos + qkv.shape[0], np.float32)
    ones = np.ones(scores.shape[0], np.float32)
    for head in range(first, last):
        k, v = keys[kv_of_head[head]], values[kv_of_head[head]]
        start = head * head_dim
        for token in range(qkv.shape[0]):
            query = qkv[token, start : start + head_dim]
            n = pos + token + 1
            for t in range(n):
                scores[t] = dot(query, k[t]) / root
            _softmax(scores, ones, n)
            mixed = out[token, start : start + head_dim]
            mixed[:] = np.float32(0.0)
            for t in range(n):
                weight = scores[t]
                for i in range(head_dim):
                    mixed[i] += weight * v[t, i]


@njit(cache=True, nogil=True, fastmath={"contract"})
def attend_f16(
    qkv: Any, keys: Any, values: Any, kv_of_head: Any, out: Any, pos: int, first: int, last: int
) -> None:
    """The same over a cache of half-precision bits, uint16."""
    head_dim = keys.shape[2]
    root = np.sqrt(np.float32(head_dim))
    key = np.empty(head_dim, np.float32)
    scores = np.empty(pos + qkv.shape[0], np.float32)
    ones = np.ones(scores.shape[0], np.float32)
    for head in range(first, last):
        k, v = keys[kv_of_head[head]], values[kv_of_head[head]]
        start = head * head_dim
        for token in range(qkv.shape[0]):
            query = qkv[token, start : start + head_dim]
            n = pos + token + 1
            for t in range(n):
                for i in range(head_dim):
                    key[i] = f16_to_f32(k[t, i])
                scores[t] = dot(query, key) / root
            _softmax(scores, ones, n)
            mixed = out[token, start : start + head_dim]
            mixed[:] = np.float32(0.0)
            for t in range(n):
                weight = scores[t]
                for i in range(head_dim):
                    mixed[i] += weight * f16_to_f32(v[t, i])
