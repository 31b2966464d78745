"""A mixture of experts: the router, and the products of the experts that it picked.

A slot is one expert's work for one token: slot = token * n_active + place, with a token's experts
in ascending order. Behind the router, rows stand expert by expert, and within one by slot
(`tables.routes`); so each expert's weights are read once for all of its tokens. All ranks route
alike, as x is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.ops.compiled import operation
from dllama_engine.kernels.ops.matmul import call_product
from dllama_engine.kernels.ops.table import activations, f32, fields, pieces
from dllama_engine.tables.operations import FIRST, IS_Q80, NEEDS_FLOATS, NEEDS_SUMS, PIECE


@njit(inline="always")
def _route(address: Any, n_experts: Any, n_slots: Any) -> Any:
    """(how many in use, their numbers, their first rows, token of each row, row of each slot)."""
    size = n_experts + 1
    word = 8
    in_use = carray(pointer(address), (1,), np.int64)
    numbers = carray(pointer(address + word), (size,), np.int64)
    first_rows = carray(pointer(address + word * (1 + size)), (size,), np.int64)
    tokens = carray(pointer(address + word * (1 + 2 * size)), (n_slots,), np.int64)
    rows = carray(pointer(address + word * (1 + 2 * size + n_slots)), (n_slots,), np.int64)
    return in_use, numbers, first_rows, tokens, rows


@njit(error_model="numpy")
def _softmax(logits: Any) -> None:
    """In place, float32 (n_experts,)."""
    peak, total = logits[0], np.float32(0.0)
    for i in range(1, logits.shape[0]):
        if logits[i] > peak or np.isnan(logits[i]):
            peak = logits[i]
    for i in range(logits.shape[0]):
        logits[i] = np.exp(logits[i] - peak)
        total += logits[i]
    for i in range(logits.shape[0]):
        logits[i] /= total


@njit(error_model="numpy")
def _pick(probabilities: Any, experts: Any, weights: Any) -> None:
    """The most probable experts, ascending, of equals the first; their weights sum to 1.

    Args:
        probabilities: float32 (n_experts,), destroyed.
        experts: int64 (n_active,), written.
        weights: float32 (n_active,), written.
    """
    total = np.float32(0.0)
    for picked in range(experts.shape[0]):
        best = 0
        for i in range(1, probabilities.shape[0]):
            if probabilities[i] > probabilities[best]:
                best = i
        place = picked
        while place > 0 and experts[place - 1] > best:
            experts[place], weights[place] = experts[place - 1], weights[place - 1]
            place -= 1
        experts[place], weights[place] = best, probabilities[best]
        probabilities[best] = np.float32(-1.0)
    for place in range(experts.shape[0]):
        total += weights[place]
    for place in range(experts.shape[0]):
        weights[place] /= total


@njit
def _arrange(experts: Any, n_active: int, n_experts: int, address: int) -> None:
    """Put the slots in the order of their experts; experts int64 (n_slots,)."""
    n_slots = experts.shape[0]
    in_use, numbers, first_rows, tokens, rows = _route(address, n_experts, n_slots)
    counts, next_rows = numbers, first_rows  # at first
    counts[:] = 0
    for slot in range(n_slots):
        counts[experts[slot]] += 1
    next_rows[0] = 0
    for expert in range(n_experts):
        next_rows[expert + 1] = next_rows[expert] + counts[expert]
    for slot in range(n_slots):
        row = next_rows[experts[slot]]
        tokens[row], rows[slot] = slot // n_active, row
        next_rows[experts[slot]] += 1
    used = 0
    for expert in range(n_experts):
        if counts[expert]:
            begin = next_rows[expert] - counts[expert]
            numbers[used], first_rows[used] = expert, begin
            used += 1
    first_rows[used] = n_slots
    in_use[0] = used


@operation
def route(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """gate, n_experts, n_active, experts, weights, route. One chunk.

    gate float32 (tokens, n_experts), destroyed; experts int64 and weights float32 (tokens,
    n_active), written.
    """
    op, tokens = fields(op_at), rows
    n_experts, n_active = op[FIRST + 1], op[FIRST + 2]
    gate = f32(op[FIRST], tokens, n_experts)
    experts = carray(pointer(op[FIRST + 3]), (tokens, n_active), np.int64)
    weights = f32(op[FIRST + 4], tokens, n_active)
    for token in range(tokens):
        _softmax(gate[token])
        _pick(gate[token], experts[token], weights[token])
    slots = carray(pointer(op[FIRST + 3]), (tokens * n_active,), np.int64)
    _arrange(slots, n_active, n_experts, op[FIRST + 5])


@njit(inline="always")
def _copy(row: Any, to: Any) -> None:
    """Both (n,); an assignment of arrays would bring a check of shapes that speaks to Python."""
    for i in range(to.shape[0]):
        to[i] = row[i]


@operation
def take(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """route, n_experts, n_active; activations by token; by row, written. Items are rows."""
    op = fields(op_at)
    n_experts, tokens = op[FIRST + 1], rows // op[FIRST + 2]
    _, _, _, token_of, _ = _route(op[FIRST], n_experts, rows)
    _, values, scales, sums, floats = activations(op, FIRST + 3, tokens)
    _, to_values, to_scales, to_sums, to_floats = activations(op, FIRST + 9, rows)
    needs_floats = op[FIRST + 4] & IS_Q80 == 0 or op[FIRST + 4] & NEEDS_FLOATS
    for to in range(first, last):
        token = token_of[to]
        _copy(values[token], to_values[to])
        _copy(scales[token], to_scales[to])
        if op[FIRST + 4] & NEEDS_SUMS:
            _copy(sums[token], to_sums[to])
        if needs_floats:
            _copy(floats[token], to_floats[to])


@operation
def multiply(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """route, n_experts, matrices, product, n_rows, chunk's rows, out; then activations by row.

    matrices int64 (n_experts, 2): weights and deltas; out float32 (rows, n_rows). An item is one
    chunk of one expert in use; those beyond the experts in use are empty.
    """
    op = fields(op_at)
    n_experts, n_rows, grain = op[FIRST + 1], op[FIRST + 4], op[FIRST + 5]
    in_use, numbers, first_rows, _, _ = _route(op[FIRST], n_experts, rows)
    matrices = carray(pointer(op[FIRST + 2]), (n_experts, 2), np.int64)
    per_expert = (n_rows + grain - 1) // grain
    at = FIRST + 7
    n = op[at]
    for item in range(first, last):
        used, start = item // per_expert, item % per_expert * grain
        if used >= in_use[0]:
            return
        begin, end = first_rows[used], first_rows[used + 1]
        x = (
            op[at + 2] + begin * n,
            op[at + 3] + begin * (n // 32) * 4,
            op[at + 4] + begin * (n // 32) * 4,
            op[at + 5] + begin * n * 4,
        )
        matrix = (matrices[numbers[used], 0], matrices[numbers[used], 1])
        out = op[FIRST + 6] + begin * n_rows * 4
        sizes = (end - begin, n_rows, n, start, min(n_rows, start + grain))
        call_product(op[FIRST + 3], (*matrix, *x, out, *sizes))


@operation
def combine(op_at: int, rows: int, pos: int, row: int, first: int, last: int) -> None:
    """route, n_experts, n_active, weights, results, n, out: each token's experts, weighted.

    results float32 (slots, n) by row; out (tokens, n) = sum over a token's experts, in the order
    of their numbers. Items are pieces of tokens.
    """
    op, tokens = fields(op_at), rows
    n_experts, n_active, n = op[FIRST + 1], op[FIRST + 2], op[FIRST + 5]
    n_slots = tokens * n_active
    _, _, _, _, row_of = _route(op[FIRST], n_experts, n_slots)
    weights, results = f32(op[FIRST + 3], tokens, n_active), f32(op[FIRST + 4], n_slots, n)
    out = f32(op[FIRST + 6], tokens, n)
    per_token = pieces(n)
    for item in range(first, last):
        token, start = item // per_token, item % per_token * PIECE
        for i in range(start, min(n, start + PIECE)):
            total = np.float32(0.0)
            for place in range(n_active):
                total += weights[token, place] * results[row_of[token * n_active + place], i]
            out[token, i] = total
