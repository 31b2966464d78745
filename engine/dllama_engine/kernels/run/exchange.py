"""Frames to and from all peers at once, over sockets that do not block, without Python.

The tables are those of `dllama_engine.tables.links`. An exchange that cannot go on returns to
Python, which handles signals and deadlines and calls again; nothing is lost in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.kernels.run.beginning import await_next, begin, has_room
from dllama_engine.kernels.run.frames import advance, keep_times, pending, unsent
from dllama_engine.kernels.run.observe import keep_exchange
from dllama_engine.kernels.run.waiting import gives_way, is_ready, look
from dllama_engine.tables.links import (
    AGAIN,
    AWAITED,
    BUSY_NS,
    BYTES,
    CALM,
    CROWDED,
    DONE,
    DURATION_NS,
    ENDED_NS,
    FULL,
    GOT,
    HIDDEN_NS,
    IS_NEXT,
    KIND,
    LEFT_NS,
    LINK_WIDTH,
    MESH_WORDS,
    MET,
    MOVED_NS,
    OUT_BYTES,
    RECORD,
    RECORD_BYTES,
    RECORD_DURATION_NS,
    RECORD_KIND,
    RECORD_START_NS,
    ROUTE_WIDTH,
    SCRATCH,
    SPENT_NS,
    START_NS,
    SWEEPS,
    TO_RECV,
    TRACE_AT,
    TRACE_ROWS,
    TRACE_USED,
    UNDER_WAY,
    WAITED_NS,
)

_YIELDS = 3  # before sleeping: a peer may be waiting for this very core
_SPIN_NS = 20_000  # at least, before sleeping: about what being woken takes
_SLEEP_MS = 100  # at most, before Python looks for signals and at the deadline
_STAY_NS = 100_000_000  # at most, while frames move all the time


@njit(nogil=True)
def _come_back(mesh: Any) -> None:
    """The rank has computed since it posted the exchange: that time is none of the exchange's."""
    now = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    mesh[HIDDEN_NS] += now - mesh[LEFT_NS]
    mesh[LEFT_NS], mesh[MOVED_NS] = 0, now


@njit(nogil=True)
def _finish(links: Any, mesh: Any) -> None:
    """Count the exchange's time and write it wherever it is kept; the next one is waited for."""
    mesh[ENDED_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    duration_ns = mesh[ENDED_NS] - mesh[START_NS] - mesh[HIDDEN_NS]
    mesh[SPENT_NS] += duration_ns
    for rank in range(links.shape[0]):
        link = links[rank]
        if link[OUT_BYTES] and not link[TO_RECV]:  # only sent to
            link[DURATION_NS] = duration_ns
            link[BUSY_NS] += duration_ns
    keep_exchange(links, mesh)
    if mesh[TRACE_ROWS] > 0:
        _record(links, mesh, duration_ns)
    mesh[UNDER_WAY] = mesh[IS_NEXT]
    if mesh[IS_NEXT] != 0:
        await_next(links, mesh)


@njit(nogil=True)
def _record(links: Any, mesh: Any, duration_ns: int) -> None:
    world_size = links.shape[0]
    rows = carray(pointer(mesh[TRACE_AT]), (mesh[TRACE_ROWS], RECORD + world_size), np.int64)
    row = rows[mesh[TRACE_USED]]
    row[RECORD_KIND], row[RECORD_START_NS] = mesh[KIND], mesh[START_NS]
    row[RECORD_DURATION_NS], row[RECORD_BYTES] = duration_ns, mesh[BYTES]
    for rank in range(world_size):
        row[RECORD + rank] = links[rank, DURATION_NS]
    mesh[TRACE_USED] += 1


@njit(nogil=True)
def move(links: Any, mesh: Any, only_sends: bool) -> Any:
    """Until the exchange under way is through, or if `only_sends` until its frames are taken.

    Frames of the next one go on meanwhile.

    Returns:
        DONE, AGAIN, LOST or STRANGE.
    """
    if mesh[LEFT_NS] != 0:
        _come_back(mesh)
    if mesh[MET] != DONE:
        met, mesh[MET] = mesh[MET], DONE
        return met
    world_size, yields = links.shape[0], 0
    needs_sends = only_sends or mesh[IS_NEXT] == 0
    entered_ns = still_ns = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    # At first nobody is asked whether they are ready: all can be sent to, and who comes last finds
    # everything there. Who does not stops reading at the first peer that has sent nothing. Where
    # ranks share cores and one peer is waited for, it has seldom had a core to send anything yet.
    first, reads = True, mesh[CROWDED] == 0 or mesh[AWAITED] > 1
    while True:
        more, moved, unheard = False, False, False
        for turn in range(world_size - 1):
            rank = mesh[MESH_WORDS + world_size + turn]
            link = links[rank]
            if pending(link):
                if first or is_ready(link, mesh):
                    n, status = advance(links, mesh, rank, reads)
                    if status != DONE:
                        return np.int64(status)
                    moved |= n > 0
                    keep_times(link, mesh)
                    reads = reads and (not first or link[GOT] > 0 or link[TO_RECV] == 0)
                more |= needs_sends and unsent(link)
                more |= not only_sends and link[GOT] < link[TO_RECV]
                unheard |= link[TO_RECV] > 0 and link[GOT] == 0
        mesh[SWEEPS] += 1
        if not more:
            return np.int64(DONE)
        first, reads, now = False, True, now_ns(mesh.ctypes.data + 8 * SCRATCH)
        if moved:
            mesh[MOVED_NS], still_ns, yields = now, now, 0
            if now - entered_ns > _STAY_NS:
                return np.int64(AGAIN)
        # On a shared core who waits for one peer only sleeps at once: that peer's frame is all that
        # can come, and each look takes time from whoever sends it.
        # Beside other programs nobody yields: there who looks again and again keeps its peers away.
        at_once = mesh[CROWDED] != 0 and (mesh[AWAITED] <= 1 or mesh[CALM] > 0)
        yields_now = yields < _YIELDS and mesh[CALM] == 0 and not at_once
        sleeps = at_once or (not yields_now and now - still_ns > _SPIN_NS)
        if yields_now:
            yields = yields + 1 if gives_way(mesh, now) else _YIELDS
        n_ready = look(links, mesh, _SLEEP_MS if sleeps else 0)
        if unheard:  # once everybody's message has begun, what is left is the wire's
            mesh[WAITED_NS] += now_ns(mesh.ctypes.data + 8 * SCRATCH) - now
        if sleeps and n_ready <= 0:
            return np.int64(AGAIN)


@njit(nogil=True)
def exchange(links: Any, routes: Any, mesh: Any, kind: int, items: int) -> Any:
    """Send and receive one frame on every link that the routes name, side by side.

    Cannot deadlock, whatever the sizes. Called again after AGAIN or FULL, it goes on, as it does
    with what `kernels.run.posted` began.

    Args:
        links: int64 (world_size, LINK_WIDTH).
        routes: int64 (world_size, ROUTE_WIDTH); the buffers stay where they are until it is done.
        mesh: int64 (MESH_WORDS + 2 * world_size,).
        kind: what the frames are.
        items: by how much the routes' bytes are multiplied: tokens of a batch.

    Returns:
        DONE, AGAIN, FULL, LOST or STRANGE.
    """
    if mesh[UNDER_WAY] == 0:
        if not has_room(mesh):
            return np.int64(FULL)
        begin(links, routes, mesh, kind, items)
    status = move(links, mesh, False)
    if status == DONE:
        _finish(links, mesh)
    return status


@entry(6, returns=True)
def exchange_at(
    links_at: int, routes_at: int, mesh_at: int, world_size: int, kind: int, items: int
) -> Any:
    """`exchange` with tables at addresses."""
    links = carray(pointer(links_at), (world_size, LINK_WIDTH), np.int64)
    routes = carray(pointer(routes_at), (world_size, ROUTE_WIDTH), np.int64)
    mesh = carray(pointer(mesh_at), (MESH_WORDS + 2 * world_size,), np.int64)
    return exchange(links, routes, mesh, kind, items)
