"""One frame to a peer and one from it, as far as the kernel takes and has them; nothing waits.

The tables are those of `dllama_engine.tables.links`.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.tables.links import (
    BUSY_NS,
    DONE,
    DURATION_NS,
    ERRNO,
    FD,
    GOT,
    HEADER_BYTES,
    HEARD_AT_NS,
    HEARD_IN,
    HIDDEN_NS,
    KIND,
    LEFT_NS,
    LINK_WIDTH,
    LOST,
    NOTHING,
    RECEIVED_BYTES,
    RECEIVED_MESSAGES,
    RECV_HEADER,
    RECV_INTO,
    RECV_SEQUENCE,
    SCRATCH,
    SEND_FROM,
    SEND_HEADER,
    SENT,
    SENT_AT_NS,
    START_NS,
    STRANGE,
    SWEEPS,
    TIMELINE_AT,
    TO_RECV,
    TO_SEND,
    TROUBLE,
    WHOLE_AT_NS,
)

_CLOSED = 0
_EAGAIN, _EWOULDBLOCK, _EINTR = errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR

_call: Any = types.int64(types.int32, types.uintp, types.int32)
_readv: Any = types.ExternalFunction("readv", _call)
_writev: Any = types.ExternalFunction("writev", _call)
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
def _send(links: Any, mesh: Any, rank: int) -> Any:
    """Hand the kernel more of a frame: bytes it took, 0 if none, or minus the error's number."""
    link = links[rank]
    header_at = _word_at(links, rank, SEND_HEADER)
    pieces = _buffers(mesh, header_at, link[SEND_FROM], link[TO_SEND], link[SENT])
    n = _writev(link[FD], mesh.ctypes.data + 8 * SCRATCH, pieces)
    if n >= 0:
        link[SENT] += n
        return n
    number = _errno()
    again = number == _EAGAIN or number == _EWOULDBLOCK or number == _EINTR
    return np.int64(0) if again else np.int64(-number)


@njit(nogil=True)
def _receive(links: Any, mesh: Any, rank: int) -> Any:
    """Take more of a frame: bytes, 0 if none has come, or minus what went wrong, less one."""
    link = links[rank]
    header_at = _word_at(links, rank, RECV_HEADER)
    pieces = _buffers(mesh, header_at, link[RECV_INTO], link[TO_RECV], link[GOT])
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
def header(payload_bytes: int, kind: int, sequence: int) -> Any:
    """The eight bytes in front of a payload, as one number."""
    return np.int64(payload_bytes) | np.int64(kind) << 32 | np.int64(sequence) << 48


@njit(nogil=True)
def _received(link: Any, mesh: Any) -> None:
    """A peer's frame is whole: its time is that in which this rank did nothing else."""
    link[RECV_SEQUENCE] = (link[RECV_SEQUENCE] + 1) & 0xFFFF
    link[RECEIVED_BYTES] += link[TO_RECV] - HEADER_BYTES
    link[RECEIVED_MESSAGES] += 1
    link[WHOLE_AT_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    until_ns = mesh[LEFT_NS] if mesh[LEFT_NS] != 0 else link[WHOLE_AT_NS]
    link[DURATION_NS] = until_ns - mesh[START_NS] - mesh[HIDDEN_NS]
    link[BUSY_NS] += link[DURATION_NS]


@njit(nogil=True)
def _fails(mesh: Any, rank: int, number: int, status: int) -> Any:
    mesh[TROUBLE], mesh[ERRNO] = rank, number
    return status


@njit(nogil=True)
def advance(links: Any, mesh: Any, rank: int, reads: bool) -> Any:
    """Move what can be moved to one peer and, if it `reads`, from it: (bytes, status)."""
    link, moved = links[rank], np.int64(0)
    if unsent(link):
        moved = _send(links, mesh, rank)
        if moved < 0:
            return np.int64(0), _fails(mesh, rank, -moved, LOST)
    if reads and link[GOT] < link[TO_RECV]:
        n = _receive(links, mesh, rank)
        if n < 0:
            return moved, _fails(mesh, rank, -n - 1, LOST)
        moved += n
        expected = header(link[TO_RECV] - HEADER_BYTES, mesh[KIND], link[RECV_SEQUENCE])
        if link[GOT] >= HEADER_BYTES and link[RECV_HEADER] != expected:
            return moved, _fails(mesh, rank, 0, STRANGE)
        if link[GOT] == link[TO_RECV]:
            _received(link, mesh)
    return moved, DONE


@njit(inline="always")
def unsent(link: Any) -> Any:
    """Whether the kernel has not taken all of a frame."""
    return link[SENT] < link[TO_SEND]


@njit(inline="always")
def pending(link: Any) -> Any:
    """Whether anything is left to be sent to a peer or to come from it."""
    return unsent(link) or link[GOT] < link[TO_RECV]


@njit(nogil=True)
def keep_times(link: Any, mesh: Any) -> None:
    """After an advance: in which sweep the peer's frame began to come; for raw spans, when."""
    if link[GOT] > 0 and link[HEARD_IN] == NOTHING:
        link[HEARD_IN] = mesh[SWEEPS]
    if mesh[TIMELINE_AT] != 0:
        now = now_ns(mesh.ctypes.data + 8 * SCRATCH)
        if link[SENT_AT_NS] == 0 and link[SENT] == link[TO_SEND]:
            link[SENT_AT_NS] = now
        if link[HEARD_AT_NS] == 0 and link[GOT] > 0:
            whole = link[DURATION_NS] != NOTHING
            link[HEARD_AT_NS] = link[WHOLE_AT_NS] if whole else now
