"""Moves streams from socket to socket, each segment when it is due, without Python.

The tables are those of `dllama_engine.tables.relay`. When a segment arrived is what the kernel
stamped on it, so that a loop that was late to read does not add to the delay.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.kernels.run.delays import due_ns
from dllama_engine.tables.relay import (
    ALLOWED_NS,
    BELL,
    BELL_FD,
    BLOCKED,
    BROKEN,
    CHUNK_BYTES,
    CLOSED,
    ENDED,
    FLOW_WIDTH,
    HEAD,
    HUB_WORDS,
    IDLE,
    IN_FD,
    LATE_SEGMENTS,
    LEAD_NS,
    NODE_WIDTH,
    OUT_FD,
    OVER,
    OVERSLEPT_NS,
    PASSED_BYTES,
    PASSED_SEGMENTS,
    POLLED,
    READ_AT,
    RING_AT,
    RING_BYTES,
    SCRATCH,
    SEGMENT_DUE_NS,
    SEGMENT_END,
    SEGMENT_HEAD,
    SEGMENT_TAIL,
    SEGMENT_WIDTH,
    SEGMENTS,
    SEGMENTS_AT,
    SPIN_NS,
    STATE,
    TAIL,
    TOLD,
    TROUBLE,
    WORST_NS,
    WRITE_AT,
)

_FAR_NS = 1 << 62
_LONGEST_NS = 100_000_000  # asleep, before Python looks whether it is told to end
_OLDEST_NS = 1_000_000_000  # a stamp older than this is of a clock that was set
_EAGAIN, _EWOULDBLOCK, _EINTR = errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR
_IN, _OUT = np.int64(select.POLLIN) << 32, np.int64(select.POLLOUT) << 32
_SHUT_WR = np.int32(socket.SHUT_WR)
_NO_SIGNAL = np.int32(getattr(socket, "MSG_NOSIGNAL", 0))
_REALTIME = np.int32(time.CLOCK_REALTIME)
# Words of the scratch: a clock or a timeout, then msghdr (7), two iovec (4), control data (24 of
# which a time stamp takes 4).
_CLOCK, _HEADER, _PIECES, _CONTROL = SCRATCH, SCRATCH + 2, SCRATCH + 9, SCRATCH + 14
_CONTROL_BYTES = 128
_STAMP = np.int64(socket.SOL_SOCKET) | np.int64(35) << 32  # level and type of SCM_TIMESTAMPNS

_message_call: Any = types.int64(types.int32, types.uintp, types.int32)
_recvmsg: Any = types.ExternalFunction("recvmsg", _message_call)
_sendmsg: Any = types.ExternalFunction("sendmsg", _message_call)
_shutdown: Any = types.ExternalFunction("shutdown", types.int32(types.int32, types.int32))
_ppoll: Any = types.ExternalFunction(
    "ppoll", types.int32(types.uintp, types.uint64, types.uintp, types.uintp)
)
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
_errno_at: Any = types.ExternalFunction(
    "__errno_location" if sys.platform.startswith("linux") else "__error", types.uintp()
)


@njit(inline="always")
def _now(hub: Any) -> Any:
    return now_ns(hub.ctypes.data + 8 * _CLOCK)


@njit(inline="always")
def _must_wait() -> Any:
    number = carray(pointer(_errno_at()), (1,), np.int32)[0]
    return number == _EAGAIN or number == _EWOULDBLOCK or number == _EINTR


@njit(nogil=True)
def _describe(hub: Any, flow: Any, at: int, size: int, control_bytes: int) -> None:
    """A message's header whose buffers are `size` bytes of the ring from position `at` on."""
    offset = at & (flow[RING_BYTES] - 1)
    first = min(size, flow[RING_BYTES] - offset)
    hub[_PIECES], hub[_PIECES + 1] = flow[RING_AT] + offset, first
    hub[_PIECES + 2], hub[_PIECES + 3] = flow[RING_AT], size - first
    hub[_HEADER] = hub[_HEADER + 1] = hub[_HEADER + 6] = 0
    hub[_HEADER + 2] = hub.ctypes.data + 8 * _PIECES
    hub[_HEADER + 3] = 2 if size > first else 1
    hub[_HEADER + 4] = hub.ctypes.data + 8 * _CONTROL if control_bytes else 0
    hub[_HEADER + 5] = control_bytes


@njit(nogil=True)
def _arrived_ns(hub: Any, now: int) -> Any:
    """When what was just read arrived: the kernel's stamp on this clock; now, without one."""
    if hub[_HEADER + 5] < 32 or hub[_CONTROL + 1] != _STAMP:
        return now
    stamp = hub[_CONTROL + 2] * 1_000_000_000 + hub[_CONTROL + 3]
    _clock_gettime(_REALTIME, hub.ctypes.data + 8 * _CLOCK)
    age = hub[_CLOCK] * 1_000_000_000 + hub[_CLOCK + 1] - stamp
    return now - age if 0 < age < _OLDEST_NS else now


@njit(nogil=True)
def _append(flow: Any, due: int) -> None:
    segments = carray(pointer(flow[SEGMENTS_AT]), (flow[SEGMENTS], SEGMENT_WIDTH), np.int64)
    segment = segments[flow[SEGMENT_HEAD] & (flow[SEGMENTS] - 1)]
    segment[SEGMENT_END], segment[SEGMENT_DUE_NS] = flow[HEAD], due
    flow[SEGMENT_HEAD] += 1


@njit(inline="always")
def _room(flow: Any) -> Any:
    """Bytes that may be read now: a link that is full holds its sender up."""
    if flow[SEGMENT_HEAD] - flow[SEGMENT_TAIL] >= flow[SEGMENTS] - 1:
        return np.int64(0)
    return min(flow[RING_BYTES] - (flow[HEAD] - flow[TAIL]), np.int64(CHUNK_BYTES))


@njit(nogil=True)
def _read(flow: Any, nodes: Any, hub: Any) -> None:
    """Take what has come and say when it is due."""
    _describe(hub, flow, flow[HEAD], _room(flow), _CONTROL_BYTES)
    n = _recvmsg(flow[IN_FD], hub.ctypes.data + 8 * _HEADER, np.int32(0))
    if n < 0:
        if not _must_wait():
            flow[STATE] |= BROKEN
        return
    now = _now(hub)
    if n == 0:
        flow[STATE] |= ENDED
        _append(flow, due_ns(flow, nodes, 0, now))
        return
    arrived = _arrived_ns(hub, now)
    flow[HEAD] += n
    _append(flow, due_ns(flow, nodes, n, arrived))


@njit(nogil=True)
def _write(flow: Any, hub: Any, now: int) -> Any:
    """Hand on what is due; returns when the next segment is, or _FAR_NS."""
    segments = carray(pointer(flow[SEGMENTS_AT]), (flow[SEGMENTS], SEGMENT_WIDTH), np.int64)
    first = flow[SEGMENT_TAIL]
    last, until = first, flow[TAIL]
    while last < flow[SEGMENT_HEAD]:
        segment = segments[last & (flow[SEGMENTS] - 1)]
        if segment[SEGMENT_DUE_NS] - hub[LEAD_NS] > now:
            break
        until = segment[SEGMENT_END]
        last += 1
    if until > flow[TAIL]:
        _describe(hub, flow, flow[TAIL], until - flow[TAIL], 0)
        n = _sendmsg(flow[OUT_FD], hub.ctypes.data + 8 * _HEADER, _NO_SIGNAL)
        if n < 0:
            if _must_wait():
                flow[BLOCKED] = 1
            else:
                flow[STATE] |= BROKEN
            return np.int64(_FAR_NS)
        flow[TAIL] += n
        flow[PASSED_BYTES] += n
    written = _now(hub) if last > first else now
    while flow[SEGMENT_TAIL] < last:
        segment = segments[flow[SEGMENT_TAIL] & (flow[SEGMENTS] - 1)]
        if segment[SEGMENT_END] > flow[TAIL]:
            flow[BLOCKED] = 1  # the receiver is behind
            return np.int64(_FAR_NS)
        late = written - segment[SEGMENT_DUE_NS]
        flow[WORST_NS] = max(flow[WORST_NS], late)
        flow[LATE_SEGMENTS] += late > flow[ALLOWED_NS]
        flow[PASSED_SEGMENTS] += 1
        flow[SEGMENT_TAIL] += 1
    if flow[SEGMENT_TAIL] < flow[SEGMENT_HEAD]:
        return segments[flow[SEGMENT_TAIL] & (flow[SEGMENTS] - 1)][SEGMENT_DUE_NS] - hub[LEAD_NS]
    if flow[STATE] & ENDED and not flow[STATE] & CLOSED:
        flow[STATE] |= CLOSED
        _shutdown(flow[OUT_FD], _SHUT_WR)
    return np.int64(_FAR_NS)


@njit(nogil=True)
def _wait(flows: Any, hub: Any, until: Any) -> None:
    """Sleep until something comes or is due; shortly before that, stay awake."""
    n = 1
    hub[POLLED] = hub[BELL_FD] | _IN
    for i in range(flows.shape[0]):
        flow = flows[i]
        flow[READ_AT] = flow[WRITE_AT] = -1
        if flow[IN_FD] < 0 or flow[STATE] & BROKEN:
            continue
        if not flow[STATE] & ENDED and _room(flow) > 0:
            hub[POLLED + n] = flow[IN_FD] | _IN
            flow[READ_AT] = n
            n += 1
        if flow[BLOCKED]:
            hub[POLLED + n] = flow[OUT_FD] | _OUT
            flow[WRITE_AT] = n
            n += 1
    now = _now(hub)
    spin = min(hub[OVERSLEPT_NS], hub[SPIN_NS])
    asleep = max(np.int64(0), min(until - now - spin, np.int64(_LONGEST_NS)))
    hub[_CLOCK], hub[_CLOCK + 1] = asleep // 1_000_000_000, asleep % 1_000_000_000
    n_ready = _ppoll(
        hub.ctypes.data + 8 * POLLED, np.uint64(n), hub.ctypes.data + 8 * _CLOCK, np.uint64(0)
    )
    if n_ready <= 0:
        for i in range(n):
            hub[POLLED + i] &= 0xFFFFFFFFFFFF
        if asleep > 0:
            overslept = _now(hub) - now - asleep
            hub[OVERSLEPT_NS] += (min(2 * overslept, hub[SPIN_NS]) - hub[OVERSLEPT_NS]) // 8


@njit(inline="always")
def _is_ready(hub: Any, at: int) -> Any:
    return at >= 0 and hub[POLLED + at] >> 48 != 0


@njit(nogil=True)
def forward(flows: Any, nodes: Any, hub: Any) -> Any:
    """Relay until Python is wanted, a flow is over, or nothing happens for a while."""
    while True:
        next_ns, now = np.int64(_FAR_NS), _now(hub)
        for i in range(flows.shape[0]):
            flow = flows[i]
            if flow[IN_FD] < 0:
                continue
            if not flow[BLOCKED] and not flow[STATE] & BROKEN:
                next_ns = min(next_ns, _write(flow, hub, now))
            if flow[STATE] & (BROKEN | CLOSED) and not flow[STATE] & TOLD:
                flow[STATE] |= TOLD
                hub[TROUBLE] = i
                return OVER
        before = _now(hub)
        _wait(flows, hub, next_ns)
        for i in range(flows.shape[0]):
            flow = flows[i]
            if flow[IN_FD] < 0:
                continue
            if _is_ready(hub, flow[WRITE_AT]):
                flow[BLOCKED] = 0
            if _is_ready(hub, flow[READ_AT]):
                _read(flow, nodes, hub)
        if hub[POLLED] >> 48 != 0:
            return BELL
        if next_ns == _FAR_NS and _now(hub) - before >= _LONGEST_NS:
            return IDLE


@entry(5, returns=True)
def forward_at(flows_at: int, n_flows: int, nodes_at: int, n_nodes: int, hub_at: int) -> Any:
    """`forward` with tables at addresses."""
    flows = carray(pointer(flows_at), (n_flows, FLOW_WIDTH), np.int64)
    nodes = carray(pointer(nodes_at), (n_nodes, NODE_WIDTH), np.int64)
    hub = carray(pointer(hub_at), (HUB_WORDS + 2 * n_flows + 1,), np.int64)
    return forward(flows, nodes, hub)
