"""What a finished operation's time counts as, and how long it takes at least.

It may be slowed down on purpose, or be as long as an emulated board's memory needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer, relax
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.run.observe import keep_span
from dllama_engine.tables.operations import (
    EXCHANGE,
    FIRST,
    FIXED,
    FLOOR_WIDTH,
    FUNCTION,
    KIND,
    LANE,
    PER_EXPERT,
    PER_POSITION,
    POST,
)
from dllama_engine.tables.spans import COPY, KINDS
from dllama_engine.tables.team import (
    DUE,
    FLOORS_AT,
    LAST,
    MARK,
    POS,
    SLOW_AT,
    SPAN_CLOCK,
    SPANS_AT,
    TABLE_ROWS,
    TIMELINE_AT,
    TOKENS,
)


@njit(nogil=True)
def count(control: Any, kind: int, until_ns: int) -> None:
    """The time since the last mark was of this kind."""
    if control[SPANS_AT] != 0:
        spans = carray(pointer(control[SPANS_AT]), (KINDS,), np.int64)
        spans[kind] += until_ns - control[MARK]
    if control[TIMELINE_AT] != 0 and until_ns > control[MARK]:
        keep_span(control[TIMELINE_AT], kind, control[MARK], until_ns)
    control[MARK] = until_ns


@njit(nogil=True)
def _slowed(control: Any, kind: int, ended_ns: int) -> Any:
    """Stay for as long as work of this kind is to take on purpose; when that is over."""
    slow = carray(pointer(control[SLOW_AT]), (KINDS,), np.int64)
    until_ns = ended_ns + (ended_ns - control[MARK]) * slow[kind] // 1000
    if control[FLOORS_AT] != 0:
        return until_ns  # slept before the next exchange, with the rest
    now = ended_ns
    while now < until_ns:
        relax()
        now = now_ns(control.ctypes.data + 8 * SPAN_CLOCK)
    return now


@njit(nogil=True)
def _floored(control: Any, table: Any, number: int, ended_ns: int) -> Any:
    """When an operation ends on a board of the emulated memory's rate, that ended here now.

    What reads nothing passes while memory reads, as on a board whose speed was measured over whole
    tokens: only all of a stretch between two exchanges takes at least what memory needs for it.
    """
    floors = carray(pointer(control[FLOORS_AT]), (control[TABLE_ROWS], FLOOR_WIDTH), np.int64)
    floor, op = floors[number], table[number]
    lane = op[LANE]
    positions = control[POS + lane] + control[TOKENS + lane]
    ps = floor[FIXED] + floor[PER_POSITION] * positions
    if floor[PER_EXPERT] != 0:
        ps += floor[PER_EXPERT] * carray(pointer(op[FIRST]), (1,), np.int64)[0]  # `tables.routes`
    control[DUE] += ps // 1000
    return max(ended_ns, control[MARK], control[DUE])


@njit(nogil=True)
def _ends_span(control: Any, table: Any, number: int, following: int) -> Any:
    """Whether work of another kind comes next, or something that counts no work."""
    kind = table[number, KIND]
    if following < control[LAST]:
        return table[following, KIND] != kind
    if kind != COPY or following >= control[TABLE_ROWS]:
        return True
    function = table[following, FUNCTION]
    return function != EXCHANGE and function != POST  # which count all until their begin as COPY


@njit(nogil=True)
def end(control: Any, table: Any, number: int, following: int) -> None:
    """An operation has ended, and the next has not begun: one thread at a time is here.

    The clock is read where the kind of work changes; where time is made to pass on purpose, always.
    """
    is_watched = control[SPANS_AT] != 0 or control[TIMELINE_AT] != 0
    is_slowed = control[SLOW_AT] != 0 or control[FLOORS_AT] != 0
    if is_slowed or (is_watched and _ends_span(control, table, number, following)):
        kind, now = table[number, KIND], now_ns(control.ctypes.data + 8 * SPAN_CLOCK)
        if control[FLOORS_AT] != 0:
            now = _floored(control, table, number, now)
        if control[SLOW_AT] != 0:
            now = _slowed(control, kind, now)
        count(control, kind, now)
