"""Causal grouped-query attention: the cache of K and V, and one token's heads against it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.bits import f16_to_f32, f32_to_f16
from dllama_engine.kernels.llvm.exponential import fast_exp
from dllama_engine.kernels.llvm.lanes import LANES, add_weighted, dot, dots, largest

_TILE = 64  # positions whose K or V stay in the first-level cache


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
    peak = largest(scores[:n])
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


@njit(inline="always")
def _score(q: Any, keys: Any, flat: Any, n_heads: int, first: int, start: int) -> None:
    """Of flat (heads * positions,), from position `start` on: q times keys (some, head_dim)."""
    n = flat.shape[0] // n_heads
    for head in range(n_heads):
        dots(q, (first + head) * keys.shape[1], keys, flat, head * n + start)


@njit(inline="always")
def _weigh(flat: Any, n_heads: int, head_dim: int) -> None:
    """Products (heads * positions,) -> weights, in place."""
    root, n = np.sqrt(np.float32(head_dim)), flat.shape[0] // n_heads
    ones = np.ones(n, np.float32)
    for head in range(n_heads):
        row = flat[head * n : (head + 1) * n]
        for t in range(row.shape[0]):
            row[t] /= root
        _softmax(row, ones, row.shape[0])


@njit(inline="always")
def _mix(flat: Any, values: Any, out: Any, n_heads: int, first: int, start: int) -> None:
    """Add values (some, head_dim) of the positions from `start` on, weighted, to the heads."""
    n = flat.shape[0] // n_heads
    for head in range(n_heads):
        add_weighted(flat, head * n + start, values, out, (first + head) * values.shape[1])


@njit(nogil=True, error_model="numpy")
def attend_f32(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
    """Attention of one token's query heads [first, last), which share a K/V head.

    K and V are read once for all of them, tile by tile.

    Args:
        q: float32 (width,); query heads stand first.
        keys: float32 (positions, head_dim), what the token sees.
        values: likewise.
        out: float32 (heads * head_dim,), these heads' columns written.
        first: first head.
        last: one past the last head.
    """
    n, head_dim = keys.shape
    n_heads = last - first
    scores = np.empty(n_heads * n, np.float32)
    for start in range(0, n, _TILE):
        _score(q, keys[start : start + _TILE], scores, n_heads, first, start)
    _weigh(scores, n_heads, head_dim)
    out[first * head_dim : last * head_dim] = np.float32(0.0)
    for start in range(0, n, _TILE):
        _mix(scores, values[start : start + _TILE], out, n_heads, first, start)


@njit(inline="always")
def _widen(halves: Any, tile: Any) -> Any:
    """Half-precision bits uint16 (n, head_dim) as float32, in the first rows of tile."""
    for t in range(halves.shape[0]):
        for i in range(halves.shape[1]):
            tile[t, i] = f16_to_f32(halves[t, i])
    return tile[: halves.shape[0]]


@njit(nogil=True, error_model="numpy")
def attend_f16(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
    """The same over a cache of half-precision bits, uint16."""
    n, head_dim = keys.shape
    n_heads = last - first
    scores = np.empty(n_heads * n, np.float32)
    tile = np.empty((_TILE, head_dim), np.float32)
    for start in range(0, n, _TILE):
        _score(q, _widen(keys[start : start + _TILE], tile), scores, n_heads, first, start)
    _weigh(scores, n_heads, head_dim)
    out[first * head_dim : last * head_dim] = np.float32(0.0)
    for start in range(0, n, _TILE):
        _mix(scores, _widen(values[start : start + _TILE], tile), out, n_heads, first, start)
