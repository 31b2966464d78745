"""The root's way from one decoded token to the next, without Python: greedy decoding.

Behind the operations of a single token stands a row that takes the most probable token of the
gathered logits, writes down what the step was, and reads the token's embedding from the model's
file into the packet of the next step. Whatever is out of the ordinary (logits or embeddings that
are not finite, a file that was cut) ends the loop: Python runs that step again, and tells of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.run.link_rows import link_tables
from dllama_engine.tables.links import DONE, LINK_WIDTH, SPENT_NS
from dllama_engine.tables.operations import (
    COUNTERS_AT,
    FILE,
    FINITE_AT,
    FIRST_EMBEDDING,
    HEAD_BYTES,
    LOGITS_AT,
    LOGITS_SHIFT,
    OWN_AT,
    OWN_SIZE,
    PACKET_AT,
    POSITIONS,
    RANKS,
    STEPS_AT,
    TOKENS_SHIFT,
    VOCAB,
    X_AT,
    X_SIZE,
)
from dllama_engine.tables.spans import EMBEDDING, KINDS, SAMPLING
from dllama_engine.tables.steps import (
    FIRST_ID,
    FIRST_LOGIT,
    GATHERED_NS,
    SECOND_ID,
    SECOND_LOGIT,
    SPENT,
    START,
    STEP_WIDTH,
    TAKEN_NS,
)
from dllama_engine.tables.team import (
    CLOCK,
    DUE,
    FOLLOWED,
    LEFT,
    MARK,
    POS,
    SPANS_AT,
    STEP_NS,
    STEPS_TO_GO,
    UNTIL_NS,
)

_RUN = 256  # logits whose largest is found at once
_MAGNITUDE, _INFINITE, _MINUS_INFINITE = 0x7FFFFFFF, 0x7F800000, -0x800000  # bits of float32
_NONE = -0x80000000  # below every number's key
_pread: Any = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uint64, types.int64)
)


@njit(inline="always")
def _key(bits: Any) -> Any:
    """An int32 that grows as the float32 with these bits does; both zeros have one."""
    key = np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return np.int32(0) if key == np.int32(-1) else key


@njit(nogil=True)
def _find(bits: Any, first: Any, last: Any, key: Any, but: Any) -> Any:
    """The first place in [first, last) that has this key, `but` left out; -1: there is none."""
    for i in range(first, min(last, len(bits))):
        if _key(bits[i]) == key and i != but:
            return np.int64(i)
    return np.int64(-1)


@njit(nogil=True)
def _largest_but(bits: Any, first: Any, last: Any, but: Any) -> Any:
    best = np.int32(_NONE)
    for i in range(first, min(last, len(bits))):
        if i != but:
            best = max(best, _key(bits[i]))
    return best


@njit(nogil=True)
def top_two(bits: Any) -> Any:
    """Where the two largest of float32 logits stand, by their bits int32 (vocab,).

    Returns:
        The first one's place and the second one's; of equal ones the first is the larger. -1 for
        both if the largest is not finite or some are no numbers; for the second if there is none.
    """
    least, best, second_best = _key(np.int32(_MINUS_INFINITE)), np.int32(_NONE), np.int32(_NONE)
    run = second_run = np.int64(0)
    for first in range(0, len(bits), _RUN):  # each in one sweep of vectors
        largest = np.int32(_NONE)
        for i in range(first, min(first + _RUN, len(bits))):
            key = _key(bits[i])
            largest, least = max(largest, key), min(least, key)
        if largest > best:
            second_best, second_run, best, run = best, run, largest, np.int64(first)
        elif largest > second_best:
            second_best, second_run = largest, np.int64(first)
    top = _find(bits, run, run + _RUN, best, -1)
    if top < 0 or least < _key(np.int32(_MINUS_INFINITE)):
        return np.int64(-1), np.int64(-1)
    if bits[top] & _MAGNITUDE >= _INFINITE:
        return np.int64(-1), np.int64(-1)
    beside = _largest_but(bits, run, run + _RUN, top)
    if beside > second_best or (beside == second_best and run < second_run):
        second_best, second_run = beside, run
    return top, _find(bits, second_run, second_run + _RUN, second_best, top)


@njit(nogil=True)
def _is_finite(bits: Any) -> Any:
    for i in range(len(bits)):
        if bits[i] & _MAGNITUDE >= _INFINITE:
            return False
    return True


@njit(nogil=True)
def _embed(op: Any, token: int) -> Any:
    """Read a token's embedding to where the next step has it; whether that went well."""
    size = op[X_SIZE]
    at = op[PACKET_AT] + HEAD_BYTES if op[PACKET_AT] != 0 else op[X_AT]
    n_bytes = 4 * size
    offset = op[FIRST_EMBEDDING] + token * n_bytes
    if _pread(np.int32(op[FILE]), at, n_bytes, offset) != n_bytes:
        return False
    read = carray(pointer(at), (size,), np.int32)
    known = carray(pointer(op[FINITE_AT]), (op[VOCAB],), np.uint8)
    if known[token] == 0:
        if not _is_finite(read):
            return False
        known[token] = 1
    if at != op[X_AT]:
        x = carray(pointer(op[X_AT]), (size,), np.int32)
        for i in range(size):
            x[i] = read[i]
    return True


@njit(nogil=True)
def _write_down(control: Any, op: Any, spent_ns: int, gathered_ns: int) -> Any:
    """The step that ended and the token it gives; returns that, or -1 where Python has to look."""
    logits = carray(pointer(op[LOGITS_AT]), (op[VOCAB],), np.int32)
    if op[OWN_AT] != op[LOGITS_AT]:
        own = carray(pointer(op[OWN_AT]), (op[OWN_SIZE],), np.int32)
        for i in range(op[OWN_SIZE]):
            logits[i] = own[i]
    first, second = top_two(logits)
    if second < 0:
        return np.int64(-1)
    number = control[FOLLOWED]
    step = carray(pointer(op[STEPS_AT] + 8 * STEP_WIDTH * number), (STEP_WIDTH,), np.int64)
    step[START], step[GATHERED_NS], step[SPENT] = control[STEP_NS], gathered_ns, spent_ns
    step[FIRST_ID], step[SECOND_ID] = first, second
    step[FIRST_LOGIT], step[SECOND_LOGIT] = logits[first], logits[second]
    words = op[RANKS] * LINK_WIDTH
    counters = carray(pointer(op[COUNTERS_AT] + 8 * words * number), (words,), np.int64)
    links, _, _ = link_tables(op)
    for rank in range(op[RANKS]):
        for field in range(LINK_WIDTH):
            counters[rank * LINK_WIDTH + field] = links[rank, field]
    taken_ns = now_ns(control.ctypes.data + 8 * CLOCK)
    step[TAKEN_NS] = control[STEP_NS] = taken_ns
    control[FOLLOWED] += 1
    return first


@njit(nogil=True)
def next_token(control: Any, table: Any, number: int) -> Any:
    """Take the most probable token, and have all in place for the step that it begins.

    Returns:
        DONE if that one is to be run; LEFT if Python goes on: after so many steps, so much time, at
        the end of the context, or where there is something for it to look at.
    """
    op, clock = table[number], control.ctypes.data + 8 * CLOCK
    _, _, mesh = link_tables(op)
    gathered_ns = now_ns(clock)
    token = _write_down(control, op, mesh[SPENT_NS], gathered_ns)
    if token < 0:
        return np.int64(LEFT)
    taken_ns = control[STEP_NS]
    if control[SPANS_AT] != 0:
        spans = carray(pointer(control[SPANS_AT]), (KINDS,), np.int64)
        spans[SAMPLING] += taken_ns - gathered_ns
    if control[FOLLOWED] >= control[STEPS_TO_GO] or taken_ns >= control[UNTIL_NS]:
        return np.int64(LEFT)
    if control[POS] + 1 >= op[POSITIONS]:  # the cache has no room
        return np.int64(LEFT)
    if not _embed(op, token):
        return np.int64(LEFT)
    control[POS] += 1
    if op[PACKET_AT] != 0:
        head = carray(pointer(op[PACKET_AT]), (1,), np.int64)
        head[0] = control[POS] | np.int64(1) << TOKENS_SHIFT | np.int64(1) << LOGITS_SHIFT
    control[MARK] = control[DUE] = now_ns(clock)
    if control[SPANS_AT] != 0:
        spans = carray(pointer(control[SPANS_AT]), (KINDS,), np.int64)
        spans[EMBEDDING] += control[MARK] - taken_ns
    return np.int64(DONE)
