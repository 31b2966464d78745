"""A worker's way from one decoded token to the next, without Python.

Behind the operations of a single token stands a row that receives the root's next packet
(`cluster.packet`). If it asks for one more token, its operations are run at once: what Python would
do in between is counted here. Everything else goes back to Python, with what was read of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.run.beginning import begin
from dllama_engine.kernels.run.exchange import move
from dllama_engine.kernels.run.link_rows import link_tables
from dllama_engine.tables.links import (
    AGAIN,
    BUSY_NS,
    DONE,
    GOT,
    HEADER_BYTES,
    RECV_HEADER,
    RECV_SEQUENCE,
    SPENT_NS,
    START_NS,
    STRANGE,
    TO_RECV,
    UNDER_WAY,
    WAITED_NS,
    WHOLE_AT_NS,
)
from dllama_engine.tables.operations import (
    FRAME_KIND,
    HEAD_BYTES,
    LOGITS_SHIFT,
    PACKET_AT,
    POSITIONS,
    TOKENS_SHIFT,
    X_AT,
    X_SIZE,
)
from dllama_engine.tables.spans import KINDS, WAITED, WIRE
from dllama_engine.tables.team import (
    BEGUN,
    COMPUTED_NS,
    DUE,
    FOLLOWED,
    LEFT,
    MARK,
    OTHER,
    POS,
    SPANS_AT,
    STEP_NS,
    STEP_SPENT_NS,
    TOKENS,
)

_ROOT = 0
_LOW32 = 0xFFFFFFFF


@njit(nogil=True)
def _end_step(control: Any, mesh: Any) -> None:
    """The step before ended when the exchange of the packet began."""
    spent_ns = mesh[SPENT_NS] - control[STEP_SPENT_NS]
    control[COMPUTED_NS] += mesh[START_NS] - control[STEP_NS] - spent_ns
    control[STEP_NS], control[STEP_SPENT_NS] = mesh[START_NS], mesh[SPENT_NS]


@njit(nogil=True)
def _is_larger(link: Any, kind: int) -> Any:
    """Whether the frame that begins is a packet all the same, of another size."""
    numbers = link[RECV_HEADER] >> 32 & _LOW32
    return link[GOT] >= HEADER_BYTES and numbers == kind | link[RECV_SEQUENCE] << 16


@njit(nogil=True)
def _begin_step(control: Any, op: Any, link: Any, mesh: Any) -> Any:
    """Whether the packet asks for one more token; all is in place for it then."""
    moving_ns = link[WHOLE_AT_NS] - mesh[START_NS] - mesh[WAITED_NS]
    link[BUSY_NS] -= mesh[WAITED_NS]  # it is idleness, unlike that of an exchange
    mesh[SPENT_NS] += moving_ns
    head = carray(pointer(op[PACKET_AT]), (1,), np.int64)[0]
    one = np.int64(1) << TOKENS_SHIFT | np.int64(1) << LOGITS_SHIFT
    pos = head & _LOW32
    if head & ~np.int64(_LOW32) != one or pos >= op[POSITIONS]:
        return False
    size = op[X_SIZE]
    x = carray(pointer(op[X_AT]), (size,), np.float32)
    sent = carray(pointer(op[PACKET_AT] + HEAD_BYTES), (size,), np.float32)
    for i in range(size):
        x[i] = sent[i]
    control[TOKENS], control[POS] = 1, pos
    control[FOLLOWED] += 1
    control[STEP_SPENT_NS] = mesh[SPENT_NS]
    control[STEP_NS] = control[MARK] = control[DUE] = link[WHOLE_AT_NS]
    if control[SPANS_AT] != 0:
        spans = carray(pointer(control[SPANS_AT]), (KINDS + 1,), np.int64)
        spans[WIRE] += moving_ns
        spans[WAITED + _ROOT] += mesh[WAITED_NS]
    return True


@njit(nogil=True)
def next_step(control: Any, table: Any, number: int) -> Any:
    """Receive the root's next packet.

    Returns:
        DONE if it asks for one more token; how the loop ends (`tables.team`); or what Python must
        see to before this goes on (`tables.links`).
    """
    op = table[number]
    links, routes, mesh = link_tables(op)
    link = links[_ROOT]
    if mesh[UNDER_WAY] == 0:
        begin(links, routes, mesh, op[FRAME_KIND], 1)
        _end_step(control, mesh)
    status = move(links, mesh, False)
    if status == AGAIN and link[GOT] == 0:
        status = LEFT
    elif status == STRANGE and _is_larger(link, op[FRAME_KIND]):
        status = BEGUN
    elif status == DONE and not _begin_step(control, op, link, mesh):
        status = OTHER
    if status == LEFT:
        link[TO_RECV] = 0
    if status == DONE or status >= LEFT:
        mesh[UNDER_WAY] = 0
    return np.int64(status)
