"""Causal grouped-query attention: the cache of K and V, and tokens' heads against it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.bits import f16_to_f32, f32_to_f16
from dllama_engine.kernels.llvm.exponential import fast_exp
from dllama_engine.kernels.llvm.lanes import LANES, add_lanes, add_weighted, dots, folded, largest
from dllama_engine.kernels.llvm.query_tiles import (
    KEYS,
    SIDE_BY_SIDE,
    add_products,
    copy_eights,
    pack,
    products,
)

_TILE = 64  # positions whose K or V stay in the first-level cache
_PART = 128  # of a softmax, which is computed while the one before is added
_LINE = 16  # float32 of a cache line


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
def _weigh(row: Any, head_dim: int, lanes: Any) -> None:
    """Products (positions,) -> weights, in place: the softmax of row / sqrt(head_dim).

    Whole groups of 8 by `fast_exp`, the rest exactly. What was computed is added while the next
    part is: one sum after the other would take longer than the exponentials.
    """
    root, n = np.sqrt(np.float32(head_dim)), row.shape[0]
    peak = largest(row) / root
    whole = n - n % LANES
    lanes[:] = np.float32(0.0)
    for start in range(0, whole, _PART):
        part = row[start : min(start + _PART, whole)]
        for i in range(part.shape[0]):
            part[i] = fast_exp(part[i] / root - peak)
        add_lanes(lanes, part, 0, part.shape[0])
    total = folded(lanes)
    for i in range(whole, n):
        row[i] = np.exp(row[i] / root - peak)
        total += row[i]
    inverse = np.float32(1.0) / total
    for i in range(n):
        row[i] *= inverse


@njit(inline="always")
def _nowhere(cache: Any) -> Any:
    """What float32 needs for a tile of its own: nothing."""
    return cache


@njit(inline="always")
def _as_they_are(cache: Any, start: int, stop: int, room: Any) -> Any:
    """Positions of a cache of float32."""
    return cache[start:stop]


@njit(inline="always")
def _room(cache: Any) -> Any:
    """For a tile of a cache of half-precision bits as float32."""
    return np.empty((_TILE, cache.shape[1]), np.float32)


@njit(inline="always")
def _widened(cache: Any, start: int, stop: int, room: Any) -> Any:
    """Positions of a cache of half-precision bits as float32, in the first rows of `room`."""
    halves = cache[start:stop]
    for t in range(halves.shape[0]):
        for i in range(halves.shape[1]):
            room[t, i] = f16_to_f32(halves[t, i])
    return room[: stop - start]


def _make_attend(make_room: Any, positions: Any) -> Any:
    """Attention over a cache whose positions [start, stop) that gives as float32."""

    @njit(nogil=True, error_model="numpy")
    def alone(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
        """Of one token, a head after the other."""
        n, head_dim = keys.shape
        scores, lanes = np.empty((last - first) * n, np.float32), np.empty(LANES, np.float32)
        room = make_room(keys)
        for start in range(0, n, _TILE):
            tile = positions(keys, start, min(start + _TILE, n), room)
            for head in range(last - first):
                dots(q, (first + head) * head_dim, tile, scores, head * n + start)
        for head in range(last - first):
            _weigh(scores[head * n : (head + 1) * n], head_dim, lanes)
        out[first * head_dim : last * head_dim] = np.float32(0.0)
        for start in range(0, n, _TILE):
            tile = positions(values, start, min(start + _TILE, n), room)
            for head in range(last - first):
                add_weighted(scores, head * n + start, tile, out, (first + head) * head_dim)

    @njit(nogil=True, error_model="numpy")
    def together(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
        """Of all tokens and heads at once: `queries` below.

        Products are made of all positions, also of those that a token does not see; sums only of
        what all see, the rest one by one.
        """
        n, head_dim = keys.shape
        n_heads, seen = last - first, n - q.shape[0] + 1  # by the first token, and so by all
        n_queries = q.shape[0] * n_heads
        n_rows = n_queries + -n_queries % SIDE_BY_SIDE  # the last query twice if need be
        stride = n + (_LINE - n % _LINE) + _LINE  # powers of two would share few lines of a cache
        packed = np.empty((n_rows, head_dim), np.float32)
        scores = np.empty((n_rows, stride), np.float32)
        sums = np.empty((n_rows, head_dim), np.float32)
        for row in range(n_rows):
            token, head = divmod(min(row, n_queries - 1), n_heads)
            pack(q[token], (first + head) * head_dim, packed, row)
        room = make_room(keys)
        for start in range(0, n, _TILE):
            start = min(start, n - KEYS)
            tile = positions(keys, start, min(start + _TILE, n), room)
            products(packed, tile, scores, start)
        for query in range(n_queries):
            _weigh(scores[query, : seen + query // n_heads], head_dim, sums[0, :LANES])
        sums[:] = np.float32(0.0)
        for start in range(0, seen, _TILE):
            tile = positions(values, start, min(start + _TILE, seen), room)
            add_products(scores, start, tile, sums)
        rest = positions(values, seen, n, room)
        for query in range(n_queries):
            token, head = divmod(query, n_heads)
            add_weighted(scores[query], seen, rest[:token], sums[query], 0)
            place = (first + head) * head_dim
            copy_eights(sums[query], 0, head_dim, out[token], place, LANES)

    @njit(nogil=True, error_model="numpy")
    def attend(q: Any, keys: Any, values: Any, out: Any, first: int, last: int) -> None:
        """Attention of some tokens' query heads [first, last), which share a K/V head.

        K and V are read once for all of them, tile by tile; each sum is what it is for one token
        alone. Scores take 4 bytes a position for each query head of each token.

        Args:
            q: float32 (tokens, width); query heads stand first.
            keys: (positions, head_dim), what the last token sees; each one before it one less.
            values: likewise.
            out: float32 (tokens, heads * head_dim), these heads' columns written.
            first: first head.
            last: one past the last head.
        """
        n, head_dim = keys.shape
        n_tokens = q.shape[0]
        if n_tokens * (last - first) > 1 and n >= KEYS and head_dim % LANES == 0:
            together(q, keys, values, out, first, last)
        else:
            for token in range(n_tokens):
                sees = n - n_tokens + 1 + token
                alone(q[token], keys[:sees], values[:sees], out[token], first, last)

    return attend


attend_f32: Any = _make_attend(_nowhere, _as_they_are)
attend_f16: Any = _make_attend(_room, _widened)
