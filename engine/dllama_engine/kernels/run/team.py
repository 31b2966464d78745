"""How threads share out a range of operations inside compiled code.

One 64-bit word says it all: a sequence number (low 32 bits), the next chunk to take (16 bits) and
the operation (16 bits). A thread takes a chunk by raising the word; who ends the last chunk of an
operation moves the word on to the next one. So nobody waits for a thread that has not come: what
the others do not take, the caller does itself, and threads that outnumber the cores cost nothing
but what they have in hand. Idle helpers spin for a short, bounded time and then sleep on a futex.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import (
    add,
    compare_and_swap,
    load,
    pointer,
    relax,
    store,
    wait_while,
    wake_all,
    yield_core,
)
from dllama_engine.kernels.llvm.clock import now_ns, sleep_until
from dllama_engine.kernels.ops.compiled import call_operation, entry
from dllama_engine.kernels.ops.table import chunk_items, chunks
from dllama_engine.kernels.run.exchange import exchange
from dllama_engine.kernels.run.observe import keep_span
from dllama_engine.tables.links import (
    AGAIN,
    DONE,
    ENDED_NS,
    LINK_WIDTH,
    MESH_WORDS,
    ROUTE_WIDTH,
    START_NS,
)
from dllama_engine.tables.operations import (
    EXCHANGE,
    FIRST,
    FIXED,
    FLOOR_WIDTH,
    FUNCTION,
    KIND,
    MAX_CHUNKS,
    PAUSE,
    PER_EXPERT,
    PER_POSITION,
    TIMES,
    WIDTH,
)
from dllama_engine.tables.spans import COPY, KINDS
from dllama_engine.tables.team import (
    CLOCK,
    CONTROL_WORDS,
    DUE,
    ENDED,
    FLOORS_AT,
    IDLE,
    LAST,
    MARK,
    OP_SHIFT,
    POS,
    RESTING,
    ROW,
    SLEEPERS,
    SLOW_AT,
    SPAN_CLOCK,
    SPANS_AT,
    STATUS,
    STOP,
    STOPPED,
    TABLE,
    TABLE_ROWS,
    TIMELINE_AT,
    TOKENS,
    WORD,
)

_CHUNK, _OP = 32, OP_SHIFT  # bits
_LOW32 = 0xFFFFFFFF
_SPINS = 400  # about 20 microseconds
_STAY_NS = 100_000_000  # before Python looks for signals
_AWAKE_NS = 30_000  # before a sleep is to be over, the core is kept


@njit(nogil=True)
def _following(control: Any, table: Any, op: int) -> Any:
    """The next operation of the range that has anything to do; LAST if none has."""
    op += 1
    while op < control[LAST] and chunks(table[op], control[TOKENS]) == 0:
        op += 1
    return op


@njit(nogil=True)
def _advance(control: Any, table: Any, word: int, op: int) -> None:
    """From the finished operation to the one that follows, or to none."""
    some = op < control[LAST]
    following = (((word & _LOW32) + 1) & _LOW32) | ((op if some else IDLE) << _OP)
    wanted = some and chunks(table[op], control[TOKENS]) > 1
    store(control, WORD, following)
    if wanted and load(control, SLEEPERS) > 0:
        wake_all(control.ctypes.data)


@njit(nogil=True)
def _has_work(control: Any, word: int) -> Any:
    op = word >> _OP
    if op == IDLE:
        return False
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    return (word >> _CHUNK) & MAX_CHUNKS < chunks(table[op], control[TOKENS])


@njit(nogil=True)
def _run_chunk(op: Any, chunk: int, tokens: int, pos: int, row: int) -> None:
    rows = op[TIMES] * tokens
    first, last = chunk_items(op, chunk, tokens)
    call_operation(op[FUNCTION], (op.ctypes.data, rows, pos, row, first, last))


@njit(nogil=True)
def _count(control: Any, kind: int, until_ns: int) -> None:
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
    ps = floor[FIXED] + floor[PER_POSITION] * (control[POS] + control[TOKENS])
    if floor[PER_EXPERT] != 0:
        ps += floor[PER_EXPERT] * carray(pointer(op[FIRST]), (1,), np.int64)[0]  # `tables.routes`
    control[DUE] += ps // 1000
    return max(ended_ns, control[MARK], control[DUE])


@njit(nogil=True)
def _rested(control: Any) -> Any:
    """Sleep until the emulated board is here; False if Python must look for signals before."""
    if control[FLOORS_AT] == 0:
        return True
    clock = control.ctypes.data + 8 * CLOCK
    now = now_ns(clock)
    until_ns = min(control[MARK], now + _STAY_NS)
    while now < until_ns:
        if until_ns - now > _AWAKE_NS:
            sleep_until(clock, until_ns - _AWAKE_NS)
        else:
            relax()
        now = now_ns(clock)
    return now >= control[MARK]


@njit(nogil=True)
def _ends_span(control: Any, table: Any, number: int, following: int) -> Any:
    """Whether work of another kind comes next, or something that counts no work."""
    kind = table[number, KIND]
    if following < control[LAST]:
        return table[following, KIND] != kind
    # An exchange counts all until its begin as COPY.
    into_exchange = following < control[TABLE_ROWS] and table[following, FUNCTION] == EXCHANGE
    return not (into_exchange and kind == COPY)


@njit(nogil=True)
def _end(control: Any, table: Any, number: int, following: int) -> None:
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
        _count(control, kind, now)


@njit(nogil=True)
def _take_chunk(control: Any) -> bool:
    """Take and run one chunk; False if there was none to take."""
    word = load(control, WORD)
    op = word >> _OP
    if op == IDLE:
        return False
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    chunk, tokens = (word >> _CHUNK) & MAX_CHUNKS, control[TOKENS]
    n = chunks(table[op], tokens)  # may be of another run if we are late: the swap will fail
    if chunk >= n:
        return False
    if not compare_and_swap(control, WORD, word, word + (1 << _CHUNK)):
        return True
    _run_chunk(table[op], chunk, tokens, control[POS], control[ROW])
    if add(control, ENDED, 1) + 1 == n:
        store(control, ENDED, 0)
        following = _following(control, table, op)
        _end(control, table, op, following)
        _advance(control, table, word, following)
    return True


@njit(nogil=True)
def _share_out(control: Any, first: int, last: int) -> None:
    """Run operations [first, last) with whoever helps; returns when all are done."""
    if first == last:
        return
    control[LAST] = last
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    _advance(control, table, load(control, WORD), _following(control, table, first - 1))
    spins = 0
    while load(control, WORD) >> _OP != IDLE:
        if _take_chunk(control):
            spins = 0
        elif spins < _SPINS:
            spins += 1
            relax()
        else:
            yield_core()  # whoever has the last chunk may be waiting for this core


@njit(nogil=True)
def _exchange(control: Any, op: Any, tokens: int) -> Any:
    """kind, links, mesh, routes, world_size: frames to and from all peers."""
    world_size = op[FIRST + 4]
    links = carray(pointer(op[FIRST + 1]), (world_size, LINK_WIDTH), np.int64)
    mesh = carray(pointer(op[FIRST + 2]), (MESH_WORDS + world_size,), np.int64)
    routes = carray(pointer(op[FIRST + 3]), (world_size, ROUTE_WIDTH), np.int64)
    status = exchange(links, routes, mesh, op[FIRST], tokens)
    if status == DONE:  # it has counted its own time
        _count(control, COPY, mesh[START_NS])
        control[MARK] = control[DUE] = mesh[ENDED_NS]
    return status


@njit(nogil=True)
def _lead(control: Any, first: int, last: int, tokens: int, pos: int, row: int) -> Any:
    """Run operations [first, last), exchanges among them: (where it stopped, why).

    AGAIN is a pause for Python's signals, or an exchange that needs Python's attention; RESTING a
    pause of what is computed, but would not be on the emulated board.
    """
    control[TOKENS], control[POS], control[ROW] = tokens, pos, row
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    clock = control.ctypes.data + 8 * CLOCK
    entered_ns = now_ns(clock)
    if control[MARK] == 0:  # not where Python only looked for signals
        control[MARK] = control[DUE] = entered_ns
    while first < last:
        stop = first
        while stop < last and table[stop, FUNCTION] > PAUSE:
            stop += 1
        _share_out(control, first, stop)
        first = stop
        if first < last:
            if table[first, FUNCTION] == EXCHANGE:
                if not _rested(control):
                    return first, RESTING
                status = _exchange(control, table[first], tokens)
                if status != DONE:
                    return first, status
            pauses, first = table[first, FUNCTION] == PAUSE, first + 1
            if pauses and first < last and now_ns(clock) - entered_ns > _STAY_NS:
                return first, AGAIN
    return last, DONE if _rested(control) else RESTING


@njit(nogil=True)
def _help_out(control: Any) -> None:
    """Take chunks until STOP is set."""
    spins = 0
    while load(control, STOP) == 0:
        if _take_chunk(control):
            spins = 0
        elif spins < _SPINS:
            spins += 1
            relax()
        else:
            spins = 0
            add(control, SLEEPERS, 1)
            word = load(control, WORD)
            if load(control, STOP) == 0 and not _has_work(control, word):
                wait_while(control.ctypes.data, word & _LOW32)
            add(control, SLEEPERS, -1)


@njit(inline="always")
def _control(address: Any) -> Any:
    return carray(pointer(address), (CONTROL_WORDS,), np.int64)


@entry(6)
def lead(control_at: int, first: int, last: int, tokens: int, pos: int, row: int) -> None:
    """Run operations [first, last), exchanges among them; STOPPED and STATUS say where it ended.

    They are words of the control array, as making anything of Python's may run a signal's handler,
    and an error raised there would be lost.
    """
    control = _control(control_at)
    stopped, status = _lead(control, first, last, tokens, pos, row)
    control[STOPPED], control[STATUS] = stopped, status


@entry(1)
def help_out(control_at: int) -> None:
    """Take chunks until the team is dismissed."""
    _help_out(_control(control_at))


@entry(1)
def dismiss(control_at: int) -> None:
    """Let the helpers return."""
    control = _control(control_at)
    store(control, STOP, 1)
    store(control, WORD, ((load(control, WORD) + 1) & _LOW32) | (IDLE << _OP))
    wake_all(control.ctypes.data)
