"""Rows of the table of operations that are no work but frames: what the leading thread does.

An exchange is posted with the row that begins it, glanced at between chunks of the work behind it,
and ended by the row that waits for it; or one row does all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]

from dllama_engine.kernels.llvm.atomics import pointer, relax
from dllama_engine.kernels.llvm.clock import now_ns, sleep_until
from dllama_engine.kernels.run import posted
from dllama_engine.kernels.run.exchange import exchange
from dllama_engine.kernels.run.timing import count
from dllama_engine.tables.links import (
    DONE,
    LEFT_NS,
    LINK_WIDTH,
    MESH_WORDS,
    ROUTE_WIDTH,
    UNDER_WAY,
)
from dllama_engine.tables.operations import (
    FRAME_KIND,
    LANE,
    LINKS_AT,
    MESH_AT,
    RANKS,
    ROUTES_AT,
    WIDTH,
)
from dllama_engine.tables.spans import COPY
from dllama_engine.tables.team import (
    CLOCK,
    DUE,
    FLOORS_AT,
    MARK,
    POSTED,
    TABLE,
    TABLE_ROWS,
    TOKENS,
)

_STAY_NS = 100_000_000  # before Python looks for signals
_AWAKE_NS = 30_000  # before a sleep is to be over, the core is kept
_GLANCE_NS = 200_000  # a sleep beside a posted exchange


@njit(inline="always")
def link_tables(op: Any) -> Any:
    """A row's links, routes and mesh."""
    world_size = op[RANKS]
    links = carray(pointer(op[LINKS_AT]), (world_size, LINK_WIDTH), np.int64)
    mesh = carray(pointer(op[MESH_AT]), (MESH_WORDS + 2 * world_size,), np.int64)
    routes = carray(pointer(op[ROUTES_AT]), (world_size, ROUTE_WIDTH), np.int64)
    return links, routes, mesh


@njit(nogil=True)
def _come(control: Any, mesh: Any) -> None:
    """From work to the wire, unless what is under way has only been to Python."""
    if mesh[UNDER_WAY] == 0 or mesh[LEFT_NS] != 0:
        count(control, COPY, now_ns(control.ctypes.data + 8 * CLOCK))


@njit(inline="always")
def _counted(control: Any, until_ns: int) -> None:
    """The wire has counted its own time up to here."""
    control[MARK] = control[DUE] = until_ns


@njit(nogil=True)
def run_post(control: Any, table: Any, number: int) -> Any:
    """Begin a row's exchange; its status."""
    op, clock = table[number], control.ctypes.data + 8 * CLOCK
    links, routes, mesh = link_tables(op)
    _come(control, mesh)
    status = posted.post(links, routes, mesh, op[FRAME_KIND], control[TOKENS + op[LANE]])
    _counted(control, now_ns(clock))
    control[POSTED] = number + 1
    return status


@njit(nogil=True)
def run_exchange(control: Any, table: Any, number: int) -> Any:
    """Do a row's exchange, or end it if it was posted; its status."""
    op, clock = table[number], control.ctypes.data + 8 * CLOCK
    links, routes, mesh = link_tables(op)
    _come(control, mesh)
    status = exchange(links, routes, mesh, op[FRAME_KIND], control[TOKENS + op[LANE]])
    _counted(control, now_ns(clock))
    if status == DONE and mesh[UNDER_WAY] == 0:
        control[POSTED] = 0
    return status


@njit(nogil=True)
def glance(control: Any) -> None:
    """Let what was posted go on; the leading thread only."""
    if control[POSTED] != 0:
        table = carray(pointer(control[TABLE]), (control[TABLE_ROWS], WIDTH), np.int64)
        links, _, mesh = link_tables(table[control[POSTED] - 1])
        if mesh[UNDER_WAY] != 0:
            posted.glance(links, mesh)


@njit(nogil=True)
def rested(control: Any) -> Any:
    """Sleep until the emulated board is here; False if Python must look for signals before."""
    if control[FLOORS_AT] == 0:
        return True
    clock = control.ctypes.data + 8 * CLOCK
    now = now_ns(clock)
    until_ns = min(control[MARK], now + _STAY_NS)
    while now < until_ns:
        if until_ns - now > _AWAKE_NS:
            most_ns = _GLANCE_NS if control[POSTED] != 0 else _STAY_NS
            sleep_until(clock, min(until_ns - _AWAKE_NS, now + most_ns))
            glance(control)
        else:
            relax()
        now = now_ns(clock)
    return now >= control[MARK]
