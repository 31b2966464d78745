"""How threads share out a range of operations inside compiled code.

One 64-bit word says it all: a sequence number (low 32 bits), the next chunk to take (16 bits) and
the operation (16 bits). A thread takes a chunk by raising the word; who ends the last chunk of an
operation moves the word on to the next one. So nobody waits for a thread that has not come: what
the others do not take, the caller does itself, and threads that outnumber the cores cost nothing
but what they have in hand. An operation of one chunk is not handed out: who ended the one before
it runs it too, while the vectors are in its core's caches. Idle helpers spin for a short, bounded
time and then sleep on a futex.
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
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.ops.compiled import call_operation, entry
from dllama_engine.kernels.ops.table import chunk_items, chunks
from dllama_engine.kernels.run.decoding.next_step import next_step
from dllama_engine.kernels.run.decoding.next_token import next_token
from dllama_engine.kernels.run.link_rows import glance, rested, run_exchange, run_post
from dllama_engine.kernels.run.timing import end
from dllama_engine.tables.links import AGAIN, DONE
from dllama_engine.tables.operations import (
    EXCHANGE,
    FIRST_ROW,
    FUNCTION,
    LANE,
    MAX_CHUNKS,
    NEXT_STEP,
    NEXT_TOKEN,
    PAUSE,
    POST,
    TIMES,
    WIDTH,
)
from dllama_engine.tables.team import (
    CLOCK,
    CONTROL_WORDS,
    DUE,
    ENDED,
    IDLE,
    LAST,
    MARK,
    OP_SHIFT,
    POS,
    RESTING,
    ROW,
    SLEEPERS,
    STATUS,
    STOP,
    STOPPED,
    TABLE,
    TABLE_ROWS,
    TOKENS,
    WORD,
)

_CHUNK, _OP = 32, OP_SHIFT  # bits
_LOW32 = 0xFFFFFFFF
_SPINS = 400  # about 20 microseconds
_STAY_NS = 100_000_000  # before Python looks for signals


@njit(inline="always")
def _n_chunks(control: Any, op: Any) -> Any:
    """How many chunks an operation has, with the rows of its lane."""
    return chunks(op, control[TOKENS + op[LANE]])


@njit(nogil=True)
def _following(control: Any, table: Any, op: int) -> Any:
    """The next operation of the range that has anything to do; LAST if none has."""
    op += 1
    while op < control[LAST] and _n_chunks(control, table[op]) == 0:
        op += 1
    return op


@njit(nogil=True)
def _advance(control: Any, table: Any, word: int, op: int) -> None:
    """From the finished operation to the one that follows, or to none."""
    some = op < control[LAST]
    following = (((word & _LOW32) + 1) & _LOW32) | ((op if some else IDLE) << _OP)
    wanted = some and _n_chunks(control, table[op]) > 1
    store(control, WORD, following)
    if wanted and load(control, SLEEPERS) > 0:
        wake_all(control.ctypes.data)


@njit(nogil=True)
def _has_work(control: Any, word: int) -> Any:
    op = word >> _OP
    if op == IDLE:
        return False
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    return (word >> _CHUNK) & MAX_CHUNKS < _n_chunks(control, table[op])


@njit(nogil=True)
def _run_chunk(op: Any, chunk: int, tokens: int, pos: int, row: int) -> None:
    rows = op[TIMES] * tokens
    first, last = chunk_items(op, chunk, tokens)
    call_operation(op[FUNCTION], (op.ctypes.data, rows, pos, row, first, last))


@njit(nogil=True)
def _run_singles(control: Any, table: Any, op: int) -> Any:
    """Run operations of one chunk from `op` on here, not handed out; the first that has more."""
    while op < control[LAST] and _n_chunks(control, table[op]) == 1:
        lane = table[op, LANE]
        _run_chunk(table[op], 0, control[TOKENS + lane], control[POS + lane], control[ROW])
        following = _following(control, table, op)
        end(control, table, op, following)
        op = following
    return op


@njit(nogil=True)
def _take_chunk(control: Any) -> bool:
    """Take and run one chunk; False if there was none to take."""
    word = load(control, WORD)
    op = word >> _OP
    if op == IDLE:
        return False
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    chunk, lane = (word >> _CHUNK) & MAX_CHUNKS, table[op, LANE]
    n = _n_chunks(control, table[op])  # may be of another run if we are late: the swap will fail
    if chunk >= n:
        return False
    if not compare_and_swap(control, WORD, word, word + (1 << _CHUNK)):
        return True
    _run_chunk(table[op], chunk, control[TOKENS + lane], control[POS + lane], control[ROW])
    if add(control, ENDED, 1) + 1 == n:
        store(control, ENDED, 0)
        following = _following(control, table, op)
        end(control, table, op, following)
        _advance(control, table, word, _run_singles(control, table, following))
    return True


@njit(nogil=True)
def _share_out(control: Any, first: int, last: int) -> None:
    """Run operations [first, last) with whoever helps; returns when all are done."""
    if first == last:
        return
    control[LAST] = last
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    op = _run_singles(control, table, _following(control, table, first - 1))
    if op == last:
        return
    _advance(control, table, load(control, WORD), op)
    spins = 0
    while load(control, WORD) >> _OP != IDLE:
        if _take_chunk(control):
            spins = 0
            glance(control)
        elif spins < _SPINS:
            spins += 1
            relax()
        else:
            glance(control)
            yield_core()  # whoever has the last chunk may be waiting for this core


@njit(nogil=True)
def _lead(control: Any, first: int, last: int) -> Any:
    """Run operations [first, last), exchanges among them: (where it stopped, why).

    AGAIN is a pause for Python's signals, or an exchange that needs Python's attention; RESTING a
    pause of what is computed, but would not be on the emulated board. Where the range ends with a
    NEXT_STEP or NEXT_TOKEN it is run again and again, until Python has to see to something.
    """
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    clock = control.ctypes.data + 8 * CLOCK
    entered_ns = now_ns(clock)
    if control[MARK] == 0:  # not where Python only looked for signals
        control[MARK] = control[DUE] = entered_ns
    while first < last:
        stop = first
        while stop < last and table[stop, FUNCTION] > NEXT_TOKEN:
            stop += 1
        _share_out(control, first, stop)
        first = stop
        if first < last:
            function = table[first, FUNCTION]
            if function != PAUSE:
                if not rested(control):
                    return first, RESTING
                if function == EXCHANGE:
                    status = run_exchange(control, table, first)
                elif function == POST:
                    status = run_post(control, table, first)
                elif function == NEXT_STEP:
                    status = next_step(control, table, first)
                else:
                    status = next_token(control, table, first)
                if status != DONE:
                    return first, status
            again = function == NEXT_STEP or function == NEXT_TOKEN
            first = table[first, FIRST_ROW] if again else first + 1
            if function == PAUSE and first < last and now_ns(clock) - entered_ns > _STAY_NS:
                return first, AGAIN
    return last, DONE if rested(control) else RESTING


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


@entry(3)
def lead(control_at: int, first: int, last: int) -> None:
    """Run operations [first, last), exchanges among them; STOPPED and STATUS say where it ended.

    Rows and positions of each lane are TOKENS and POS, the first row of x that a norm reads is ROW.
    They are words of the control array, as making anything of Python's may run a signal's handler,
    and an error raised there would be lost.
    """
    control = _control(control_at)
    stopped, status = _lead(control, first, last)
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
