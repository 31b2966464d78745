"""Frames to and from all peers at once, over sockets that do not block, without Python.

The tables are those of `dllama_engine.tables.links`. An exchange that cannot go on returns to
Python, which handles signals and deadlines and calls again; nothing is lost in between.
"""

from __future__ import annotations

import errno
import select
import sys
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer, yield_core
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.kernels.run.observe import keep_exchange
from dllama_engine.tables.links import (
    AGAIN,
    AWAITED,
    BUSY_NS,
    BYTES,
    CALM,
    CALM_LENGTH,
    CROWDED,
    DONE,
    DURATION_NS,
    ENDED_NS,
    ERRNO,
    FACTOR,
    FD,
    FULL,
    GOT,
    HEADER_BYTES,
    HEARD_AT_NS,
    HEARD_IN,
    KIND,
    LINK_WIDTH,
    LOST,
    MESH_WORDS,
    MOVED_NS,
    NOTHING,
    OWN,
    POLLED,
    POLLED_AT,
    RECEIVED_BYTES,
    RECEIVED_MESSAGES,
    RECORD,
    RECORD_BYTES,
    RECORD_DURATION_NS,
    RECORD_KIND,
    RECORD_START_NS,
    RECV_AT,
    RECV_BYTES,
    RECV_HEADER,
    RECV_OFFSET,
    RECV_SEQUENCE,
    ROUTE_WIDTH,
    SCRATCH,
    SEND_AT,
    SEND_BYTES,
    SEND_HEADER,
    SEND_OFFSET,
    SEND_SEQUENCE,
    SENT,
    SENT_AT_NS,
    SENT_BYTES,
    SENT_MESSAGES,
    SPENT_NS,
    START_NS,
    STRANGE,
    SWEEPS,
    TIMELINE_AT,
    TO_RECV,
    TO_SEND,
    TRACE_AT,
    TRACE_ROWS,
    TRACE_USED,
    TROUBLE,
    UNDER_WAY,
    WAITED_NS,
)

_YIELDS = 3  # before sleeping: a peer may be waiting for this very core
_SPIN_NS = 20_000  # at least, before sleeping: about what being woken takes
_LONG_NS = 2_500_000  # away from the core: somebody else works there, no peer
_CALM = (64, 8192)  # for how many exchanges the core is kept then, at least and at most
_SLEEP_MS = 100  # at most, before Python looks for signals and at the deadline
_STAY_NS = 100_000_000  # at most, while frames move all the time
_CLOSED = 0
_EAGAIN, _EWOULDBLOCK, _EINTR = errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR
_IN, _OUT = np.int64(select.POLLIN) << 32, np.int64(select.POLLOUT) << 32

_call: Any = types.int64(types.int32, types.uintp, types.int32)
_readv: Any = types.ExternalFunction("readv", _call)
_writev: Any = types.ExternalFunction("writev", _call)
_poll: Any = types.ExternalFunction("poll", types.int32(types.uintp, types.uint64, types.int32))
_errno_at: Any = types.ExternalFunction(
    "__errno_location" if sys.platform.startswith("linux") else "__error", types.uintp()
)


@njit(inline="always")
def _errno() -> Any:
    return carray(pointer(_errno_at()), (1,), np.int32)[0]


@njit(inline="always")
def _buffers(mesh: Any, header_at: int, payload_at: int, size: int, done: int) -> Any:
    """Describe what of a frame lies behind its first `done` bytes; returns in how many pieces."""
    if done < HEADER_BYTES:
        mesh[SCRATCH], mesh[SCRATCH + 1] = header_at + done, HEADER_BYTES - done
        mesh[SCRATCH + 2], mesh[SCRATCH + 3] = payload_at, size - HEADER_BYTES
        return np.int32(2)
    mesh[SCRATCH], mesh[SCRATCH + 1] = payload_at + done - HEADER_BYTES, size - done
    return np.int32(1)


@njit(inline="always")
def _word_at(table: Any, row: int, field: int) -> Any:
    return table.ctypes.data + 8 * (row * LINK_WIDTH + field)


@njit(nogil=True)
def _send(links: Any, routes: Any, mesh: Any, rank: int) -> Any:
    """Hand the kernel more of a frame: bytes it took, 0 if none, or minus the error's number."""
    link = links[rank]
    header_at = _word_at(links, rank, SEND_HEADER)
    payload_at = routes[rank, SEND_AT] + routes[rank, SEND_OFFSET] * mesh[FACTOR]
    pieces = _buffers(mesh, header_at, payload_at, link[TO_SEND], link[SENT])
    n = _writev(link[FD], mesh.ctypes.data + 8 * SCRATCH, pieces)
    if n >= 0:
        link[SENT] += n
        return n
    number = _errno()
    again = number == _EAGAIN or number == _EWOULDBLOCK or number == _EINTR
    return np.int64(0) if again else np.int64(-number)


@njit(nogil=True)
def _receive(links: Any, routes: Any, mesh: Any, rank: int) -> Any:
    """Take more of a frame: bytes, 0 if none has come, or minus what went wrong, less one."""
    link = links[rank]
    header_at = _word_at(links, rank, RECV_HEADER)
    payload_at = routes[rank, RECV_AT] + routes[rank, RECV_OFFSET] * mesh[FACTOR]
    pieces = _buffers(mesh, header_at, payload_at, link[TO_RECV], link[GOT])
    n = _readv(link[FD], mesh.ctypes.data + 8 * SCRATCH, pieces)
    if n > 0:
        link[GOT] += n
        return n
    if n == 0:
        return np.int64(-1 - _CLOSED)
    number = _errno()
    again = number == _EAGAIN or number == _EWOULDBLOCK or number == _EINTR
    return np.int64(0) if again else np.int64(-1 - number)


@njit(inline="always")
def _header(payload_bytes: int, kind: int, sequence: int) -> Any:
    return np.int64(payload_bytes) | np.int64(kind) << 32 | np.int64(sequence) << 48


@njit(nogil=True)
def _begin(links: Any, routes: Any, mesh: Any, kind: int, items: int) -> None:
    """Number the frames and count what is sent."""
    start_ns = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    mesh[KIND], mesh[START_NS], mesh[MOVED_NS] = kind, start_ns, start_ns
    mesh[UNDER_WAY], mesh[BYTES], mesh[FACTOR] = 1, 0, items
    mesh[WAITED_NS] = mesh[SWEEPS] = mesh[AWAITED] = 0
    for rank in range(links.shape[0]):
        link = links[rank]
        link[SENT] = link[TO_SEND] = link[GOT] = link[TO_RECV] = 0
        link[DURATION_NS] = link[HEARD_IN] = NOTHING
        link[SENT_AT_NS] = link[HEARD_AT_NS] = 0
        if rank == mesh[OWN]:
            continue
        if routes[rank, SEND_BYTES] != NOTHING:
            size = routes[rank, SEND_BYTES] * items
            link[TO_SEND] = HEADER_BYTES + size
            link[SEND_HEADER] = _header(size, kind, link[SEND_SEQUENCE])
            link[SEND_SEQUENCE] = (link[SEND_SEQUENCE] + 1) & 0xFFFF
            link[SENT_BYTES] += size
            link[SENT_MESSAGES] += 1
            mesh[BYTES] += size
        if routes[rank, RECV_BYTES] != NOTHING:
            size = routes[rank, RECV_BYTES] * items
            link[TO_RECV] = HEADER_BYTES + size
            mesh[BYTES] += size
            mesh[AWAITED] += 1


@njit(nogil=True)
def _received(link: Any, mesh: Any) -> None:
    """A peer's frame is whole."""
    link[RECV_SEQUENCE] = (link[RECV_SEQUENCE] + 1) & 0xFFFF
    link[RECEIVED_BYTES] += link[TO_RECV] - HEADER_BYTES
    link[RECEIVED_MESSAGES] += 1
    link[DURATION_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH) - mesh[START_NS]
    link[BUSY_NS] += link[DURATION_NS]


@njit(nogil=True)
def _stamp(link: Any, mesh: Any) -> None:
    """For raw spans: when a frame was handed over, and when the peer's began to come."""
    now = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    if link[SENT_AT_NS] == 0 and link[SENT] == link[TO_SEND]:
        link[SENT_AT_NS] = now
    if link[HEARD_AT_NS] == 0 and link[GOT] > 0:
        whole = link[DURATION_NS] != NOTHING
        link[HEARD_AT_NS] = mesh[START_NS] + link[DURATION_NS] if whole else now


@njit(nogil=True)
def _fails(mesh: Any, rank: int, number: int, status: int) -> Any:
    mesh[TROUBLE], mesh[ERRNO] = rank, number
    return status


@njit(nogil=True)
def _advance(links: Any, routes: Any, mesh: Any, rank: int, reads: bool) -> Any:
    """Move what can be moved to one peer and, if it `reads`, from it: (bytes, status)."""
    link, moved = links[rank], np.int64(0)
    if link[SENT] < link[TO_SEND]:
        moved = _send(links, routes, mesh, rank)
        if moved < 0:
            return np.int64(0), _fails(mesh, rank, -moved, LOST)
    if reads and link[GOT] < link[TO_RECV]:
        n = _receive(links, routes, mesh, rank)
        if n < 0:
            return moved, _fails(mesh, rank, -n - 1, LOST)
        moved += n
        expected = _header(link[TO_RECV] - HEADER_BYTES, mesh[KIND], link[RECV_SEQUENCE])
        if link[GOT] >= HEADER_BYTES and link[RECV_HEADER] != expected:
            return moved, _fails(mesh, rank, 0, STRANGE)
        if link[GOT] == link[TO_RECV]:
            _received(link, mesh)
    return moved, DONE


@njit(inline="always")
def _pending(link: Any) -> Any:
    return link[SENT] < link[TO_SEND] or link[GOT] < link[TO_RECV]


@njit(nogil=True)
def _look(links: Any, mesh: Any, timeout_ms: int) -> Any:
    """How many peers are ready for what is pending with them, after `timeout_ms` at most."""
    n = 0
    for rank in range(links.shape[0]):
        link = links[rank]
        link[POLLED_AT] = NOTHING
        if _pending(link):
            wanted = link[FD]
            if link[GOT] < link[TO_RECV]:
                wanted |= _IN
            if link[SENT] < link[TO_SEND]:
                wanted |= _OUT
            mesh[POLLED + n] = wanted
            link[POLLED_AT] = n
            n += 1
    return _poll(mesh.ctypes.data + 8 * POLLED, n, timeout_ms)


@njit(inline="always")
def _is_ready(link: Any, mesh: Any) -> Any:
    """What the last look found: any of the events, an error or an end among them."""
    at = link[POLLED_AT]
    return at != NOTHING and mesh[POLLED + at] >> 48 != 0


@njit(nogil=True)
def _finish(links: Any, mesh: Any) -> None:
    """Count the exchange's time and write it wherever it is kept."""
    mesh[ENDED_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    duration_ns = mesh[ENDED_NS] - mesh[START_NS]
    mesh[SPENT_NS] += duration_ns
    mesh[UNDER_WAY] = 0
    for rank in range(links.shape[0]):
        link = links[rank]
        if link[TO_SEND] and not link[TO_RECV]:  # only sent to
            link[DURATION_NS] = duration_ns
            link[BUSY_NS] += duration_ns
    keep_exchange(links, mesh)
    if mesh[TRACE_ROWS] > 0:
        _record(links, mesh, duration_ns)


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
def _yield(mesh: Any, now: int) -> Any:
    """Give the core away; False if it came back late, and for a while it is to be kept.

    Who yields again and again falls behind all others in the scheduler's eyes. Among ranks that
    wait for each other that is no loss; another program that computes has the core for
    milliseconds each time. To be woken costs more than to yield, but comes at once.
    """
    yield_core()
    length = max(mesh[CALM_LENGTH], _CALM[0])
    if now_ns(mesh.ctypes.data + 8 * SCRATCH) - now > _LONG_NS:
        mesh[CALM], mesh[CALM_LENGTH] = length, min(2 * length, _CALM[1])
        return False
    mesh[CALM_LENGTH] = length // 2
    return True


@njit(nogil=True, cache=True)
def exchange(links: Any, routes: Any, mesh: Any, kind: int, items: int) -> Any:
    """Send and receive one frame on every link that the routes name, side by side.

    Cannot deadlock, whatever the sizes. Called again after AGAIN or FULL, it goes on.

    Args:
        links: int64 (world_size, LINK_WIDTH).
        routes: int64 (world_size, ROUTE_WIDTH); the buffers stay where they are until it is done.
        mesh: int64 (MESH_WORDS + world_size,).
        kind: what the frames are.
        items: by how much the routes' bytes are multiplied: tokens of a batch.

    Returns:
        DONE, AGAIN, FULL, LOST or STRANGE.
    """
    if mesh[UNDER_WAY] == 0:
        if mesh[TRACE_USED] == mesh[TRACE_ROWS] and mesh[TRACE_ROWS] > 0:
            return FULL
        _begin(links, routes, mesh, kind, items)
        mesh[CALM] = max(mesh[CALM] - 1, 0)
    world_size, own, yields = links.shape[0], mesh[OWN], 0
    entered_ns = still_ns = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    # At first nobody is asked whether they are ready: all can be sent to, and who comes last finds
    # everything there. Who does not stops reading at the first peer that has sent nothing.
    first, reads = True, True
    while True:
        pending, moved, unheard = False, False, False
        for step in range(1, world_size):  # each rank begins with the next: no two with the same
            rank = (own + step) % world_size
            link = links[rank]
            if _pending(link):
                if first or _is_ready(link, mesh):
                    n, status = _advance(links, routes, mesh, rank, reads)
                    if status != DONE:
                        return status
                    moved |= n > 0
                    if link[GOT] > 0 and link[HEARD_IN] == NOTHING:
                        link[HEARD_IN] = mesh[SWEEPS]
                    if mesh[TIMELINE_AT] != 0:
                        _stamp(link, mesh)
                    reads = reads and (not first or link[GOT] > 0 or link[TO_RECV] == 0)
                pending |= _pending(link)
                unheard |= link[TO_RECV] > 0 and link[GOT] == 0
        mesh[SWEEPS] += 1
        if not pending:
            _finish(links, mesh)
            return DONE
        first, reads, now = False, True, now_ns(mesh.ctypes.data + 8 * SCRATCH)
        if moved:
            mesh[MOVED_NS], still_ns, yields = now, now, 0
            if now - entered_ns > _STAY_NS:
                return AGAIN
        # On a shared core who waits for one peer only sleeps at once: that peer's frame is all that
        # can come, and each look takes time from whoever sends it.
        at_once = mesh[CROWDED] != 0 and mesh[AWAITED] <= 1
        yields_now = yields < _YIELDS and mesh[CALM] == 0 and not at_once
        sleeps = at_once or (not yields_now and now - still_ns > _SPIN_NS)
        if yields_now:
            yields = yields + 1 if _yield(mesh, now) else _YIELDS
        n_ready = _look(links, mesh, _SLEEP_MS if sleeps else 0)
        if unheard:  # once everybody's message has begun, what is left is the wire's
            mesh[WAITED_NS] += now_ns(mesh.ctypes.data + 8 * SCRATCH) - now
        if sleeps and n_ready <= 0:
            return AGAIN


@entry(6, returns=True)
def exchange_at(
    links_at: int, routes_at: int, mesh_at: int, world_size: int, kind: int, items: int
) -> Any:
    """`exchange` with tables at addresses."""
    links = carray(pointer(links_at), (world_size, LINK_WIDTH), np.int64)
    routes = carray(pointer(routes_at), (world_size, ROUTE_WIDTH), np.int64)
    mesh = carray(pointer(mesh_at), (MESH_WORDS + world_size,), np.int64)
    return exchange(links, routes, mesh, kind, items)
