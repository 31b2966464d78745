"""How an exchange begins: frames numbered and counted, sent at once, and awaited in turn.

Frames to a peer may be sent while those of the exchange before are still to come from it: two are
under way at most, and whoever receives does so in their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.run.frames import header
from dllama_engine.tables.links import (
    AWAITED,
    BYTES,
    CALM,
    DONE,
    DURATION_NS,
    GOT,
    HEADER_BYTES,
    HEARD_AT_NS,
    HEARD_IN,
    HIDDEN_NS,
    IS_NEXT,
    KIND,
    LEFT_NS,
    MET,
    MOVED_NS,
    NEXT_BYTES,
    NEXT_FACTOR,
    NEXT_KIND,
    NEXT_LEFT_NS,
    NEXT_START_NS,
    NOTHING,
    OUT_AT_NS,
    OUT_BYTES,
    OUT_NUMBER,
    OWN,
    RECV_AT,
    RECV_BYTES,
    RECV_INTO,
    RECV_OFFSET,
    ROUTE_WIDTH,
    ROUTES_AT,
    SCRATCH,
    SEND_AT,
    SEND_BYTES,
    SEND_FROM,
    SEND_HEADER,
    SEND_OFFSET,
    SEND_SEQUENCE,
    SENT,
    SENT_AT_NS,
    SENT_BYTES,
    SENT_MESSAGES,
    START_NS,
    SWEEPS,
    TO_RECV,
    TO_SEND,
    TRACE_ROWS,
    TRACE_USED,
    UNDER_WAY,
    WAITED_NS,
)


@njit(inline="always")
def has_room(mesh: Any) -> Any:
    """Whether the trace can take what is under way and one more exchange, if it is kept."""
    return mesh[TRACE_ROWS] == 0 or mesh[TRACE_USED] + mesh[UNDER_WAY] < mesh[TRACE_ROWS]


@njit(nogil=True)
def begin(links: Any, routes: Any, mesh: Any, kind: int, items: int) -> None:
    """One more exchange; all frames of the one before have been taken by the kernel."""
    mesh[NEXT_START_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    mesh[NEXT_KIND], mesh[NEXT_FACTOR], mesh[NEXT_LEFT_NS] = kind, items, 0
    mesh[ROUTES_AT], mesh[NEXT_BYTES] = routes.ctypes.data, 0
    mesh[CALM] = max(mesh[CALM] - 1, 0)
    for rank in range(links.shape[0]):
        link = links[rank]
        link[OUT_AT_NS] = link[SENT_AT_NS]
        link[SENT] = link[TO_SEND] = link[SENT_AT_NS] = 0
        if rank != mesh[OWN] and routes[rank, SEND_BYTES] != NOTHING:
            size = routes[rank, SEND_BYTES] * items
            link[TO_SEND] = HEADER_BYTES + size
            link[SEND_FROM] = routes[rank, SEND_AT] + routes[rank, SEND_OFFSET] * items
            link[SEND_HEADER] = header(size, kind, link[SEND_SEQUENCE])
            link[SEND_SEQUENCE] = (link[SEND_SEQUENCE] + 1) & 0xFFFF
            link[SENT_BYTES] += size
            link[SENT_MESSAGES] += 1
            mesh[NEXT_BYTES] += size
    if mesh[UNDER_WAY] == 0:
        mesh[UNDER_WAY], mesh[MET] = 1, DONE
        await_next(links, mesh)
    else:
        mesh[IS_NEXT] = 1


@njit(nogil=True)
def await_next(links: Any, mesh: Any) -> None:
    """From now on the exchange that was begun last is the one that is waited for."""
    mesh[KIND], mesh[START_NS], mesh[LEFT_NS] = (
        mesh[NEXT_KIND],
        mesh[NEXT_START_NS],
        mesh[NEXT_LEFT_NS],
    )
    mesh[MOVED_NS], mesh[BYTES], mesh[IS_NEXT] = mesh[START_NS], mesh[NEXT_BYTES], 0
    mesh[WAITED_NS] = mesh[SWEEPS] = mesh[AWAITED] = mesh[HIDDEN_NS] = 0
    routes = carray(pointer(mesh[ROUTES_AT]), (links.shape[0], ROUTE_WIDTH), np.int64)
    for rank in range(links.shape[0]):
        link = links[rank]
        link[OUT_BYTES], link[OUT_AT_NS] = link[TO_SEND], 0
        link[OUT_NUMBER] = (link[SEND_SEQUENCE] - 1) & 0xFFFF
        link[GOT] = link[TO_RECV] = link[HEARD_AT_NS] = 0
        link[DURATION_NS] = link[HEARD_IN] = NOTHING
        if rank != mesh[OWN] and routes[rank, RECV_BYTES] != NOTHING:
            size = routes[rank, RECV_BYTES] * mesh[NEXT_FACTOR]
            link[TO_RECV] = HEADER_BYTES + size
            link[RECV_INTO] = routes[rank, RECV_AT] + routes[rank, RECV_OFFSET] * mesh[NEXT_FACTOR]
            mesh[BYTES] += size
            mesh[AWAITED] += 1
