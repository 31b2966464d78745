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

from engine.kernels.atomics import (
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
from engine.kernels.ops import WIDTH, chunks, run_chunk

# Fields of the control array, int64 (CONTROL_WORDS,), aligned to 64 bytes; hot ones have a line
# of their own.
WORD, DONE, SLEEPERS, STOP = 0, 8, 16, 24
TABLE, TABLE_ROWS, LAST, TOKENS, POS, ROW = range(32, 38)
CONTROL_WORDS = 40

IDLE = 0x7FFF  # the operation's number when there is none
MAX_CHUNKS = 0xFFFF
_CHUNK, _OP = 32, 48  # bits
_LOW32 = 0xFFFFFFFF
_SPINS = 400  # about 20 microseconds


@njit(nogil=True)
def _advance(control: Any, table: Any, word: int) -> None:
    """From the finished operation to the next one of the range, or to none."""
    op = (word >> _OP) + 1
    while op < control[LAST] and chunks(table[op], control[TOKENS]) == 0:
        op += 1
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
    run_chunk(table[op], chunk, tokens, control[POS], control[ROW])
    if add(control, DONE, 1) + 1 == n:
        store(control, DONE, 0)
        _advance(control, table, word)
    return True


@njit(nogil=True)
def _lead(control: Any, first: int, last: int, tokens: int, pos: int, row: int) -> None:
    """Run operations [first, last) with whoever helps; returns when all are done."""
    control[LAST], control[TOKENS], control[POS], control[ROW] = last, tokens, pos, row
    table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
    _advance(control, table, (load(control, WORD) & _LOW32) | ((first - 1) << _OP))
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


def make_work(variant: str, sources: str) -> Any:
    """The loop of all threads of a team, compiled for one variant of the Q40 kernel.

    numba's cache keys a function by its closure, not by what it calls: hence these two names.
    """

    @njit(nogil=True, cache=True)
    def work(
        control: Any, leads: bool, first: int, last: int, tokens: int, pos: int, row: int
    ) -> tuple[str, str]:
        """Lead operations [first, last), or help until the team is dismissed."""
        if leads:
            _lead(control, first, last, tokens, pos, row)
        else:
            _help_out(control)
        return variant, sources

    return work


@njit(nogil=True, cache=True)
def dismiss(control: Any) -> None:
    """Let the helpers return."""
    store(control, STOP, 1)
    store(control, WORD, ((load(control, WORD) + 1) & _LOW32) | (IDLE << _OP))
    wake_all(control.ctypes.data)
