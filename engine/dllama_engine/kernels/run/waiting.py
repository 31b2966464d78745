"""Waiting for peers: which of them are ready, and whom the core belongs to meanwhile."""

from __future__ import annotations

import select
from typing import Any

import numpy as np
from numba import njit, types

from dllama_engine.kernels.llvm.atomics import yield_core
from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.run.frames import pending
from dllama_engine.tables.links import (
    CALM,
    CALM_LENGTH,
    FD,
    GOT,
    NOTHING,
    POLLED,
    POLLED_AT,
    SCRATCH,
    SENT,
    TO_RECV,
    TO_SEND,
)

_LONG_NS = 2_500_000  # away from the core: somebody else works there, no peer
_CALM = (64, 8192)  # for how many exchanges the core is kept then, at least and at most
_IN, _OUT = np.int64(select.POLLIN) << 32, np.int64(select.POLLOUT) << 32

_poll: Any = types.ExternalFunction("poll", types.int32(types.uintp, types.uint64, types.int32))


@njit(nogil=True)
def look(links: Any, mesh: Any, timeout_ms: int) -> Any:
    """How many peers are ready for what is pending with them, after `timeout_ms` at most."""
    n = 0
    for rank in range(links.shape[0]):
        link = links[rank]
        link[POLLED_AT] = NOTHING
        if pending(link):
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
def is_ready(link: Any, mesh: Any) -> Any:
    """What the last look found: any of the events, an error or an end among them."""
    at = link[POLLED_AT]
    return at != NOTHING and mesh[POLLED + at] >> 48 != 0


@njit(nogil=True)
def gives_way(mesh: Any, now: int) -> Any:
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
