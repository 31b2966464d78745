"""Exchanges that go on while their rank computes: begun here, ended by `kernels.run.exchange`.

The kernel's socket buffers send and receive on their own. What they do not take at once, as a
frame is larger than they are, moves whenever the rank glances at its links between two chunks of
work: a peer whose buffers are full never waits for the end of what is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dllama_engine.kernels.llvm.clock import now_ns
from dllama_engine.kernels.run.beginning import begin, has_room
from dllama_engine.kernels.run.exchange import move
from dllama_engine.kernels.run.frames import advance, keep_times, pending
from dllama_engine.tables.links import (
    DONE,
    FULL,
    GLANCED_NS,
    IS_NEXT,
    LEFT_NS,
    MESH_WORDS,
    MET,
    NEXT_LEFT_NS,
    SCRATCH,
    SWEEPS,
    UNDER_WAY,
)

_BETWEEN_NS = 50_000  # two glances, at least: one is a system call for each frame under way


@njit(nogil=True)
def post(links: Any, routes: Any, mesh: Any, kind: int, items: int) -> Any:
    """Begin an exchange, send what the kernel takes, and leave; arguments as of `exchange`.

    Another one may be under way, not two: its frames to the peers go first, its rest can wait.

    Returns:
        DONE, AGAIN, FULL, LOST or STRANGE; after AGAIN and FULL it is to be called again.
    """
    if not has_room(mesh):
        return np.int64(FULL)
    if mesh[UNDER_WAY] != 0:
        status = move(links, mesh, True)
        if status != DONE:
            return status
        mesh[LEFT_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    begin(links, routes, mesh, kind, items)
    status = _sweep(links, mesh, False)
    left = NEXT_LEFT_NS if mesh[IS_NEXT] != 0 else LEFT_NS
    mesh[left] = mesh[GLANCED_NS] = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    return status


@njit(nogil=True)
def glance(links: Any, mesh: Any) -> None:
    """Move what can be moved of what was posted, if the last glance is not of just now.

    What goes wrong is kept for `exchange`, which ends with it.
    """
    now = now_ns(mesh.ctypes.data + 8 * SCRATCH)
    if mesh[MET] == DONE and now - mesh[GLANCED_NS] >= _BETWEEN_NS:
        mesh[MET] = _sweep(links, mesh, True)
        mesh[GLANCED_NS] = now


@njit(nogil=True)
def _sweep(links: Any, mesh: Any, reads: bool) -> Any:
    """Try every link once, and never wait: how that went."""
    world_size = links.shape[0]
    for turn in range(world_size - 1):
        rank = mesh[MESH_WORDS + world_size + turn]
        if pending(links[rank]):
            _, status = advance(links, mesh, rank, reads)
            if status != DONE:
                return np.int64(status)
            keep_times(links[rank], mesh)
    mesh[SWEEPS] += 1
    return np.int64(DONE)
