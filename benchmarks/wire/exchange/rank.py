"""`python -m benchmarks.wire.exchange.rank`: one rank that exchanges by the engine's compiled code.

Its sockets come from the parent. What it runs is a table of operations as a forward pass has it:
only the rounds, on frames of given sizes; or whole all-reduces of float32, casts and sums included.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.wire.exchange.schedule import NO_FRAME, frames
from dllama_engine.arrays import Table
from dllama_engine.cluster.placement import CoreSlots, available_cores, ranks_apart
from dllama_engine.collectives.combine import Combiner
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.formats.quants import FloatType
from dllama_engine.kernels.image import mapped
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.sharding.collective import Collective
from dllama_engine.tables.links import RECV_AT, RECV_BYTES, SEND_AT, SEND_BYTES
from dllama_engine.wire.frames import KINDS, SYNC_NODE_SLICES
from dllama_engine.wire.links import Links

_AT_ONCE = 20  # exchanges in one table, as many as 10 layers have


def main(arguments: list[str]) -> None:
    """what name n_bytes rank repeats warm_up fd..; prints seconds per exchange."""
    what, name, *numbers = arguments
    n_bytes, rank, repeats, warm_up, *descriptors = map(int, numbers)
    mapped.use(lambda line: None)
    sockets = {peer: socket.socket(fileno=fd) for peer, fd in enumerate(descriptors) if fd >= 0}
    links = Links(rank, len(descriptors), sockets)
    links.stop_tracing()
    links.share_cores(ranks_apart(CoreSlots(rank, 1, len(descriptors)), available_cores()))
    run = {"rounds": _rounds, "sums": _sums}[what]
    program, kept = run(Collective(name), links, n_bytes)

    def settle(op: int, status: int) -> None:
        links.settle(status)

    table, team = program.table(), ThreadTeam(1)
    team.install(table)
    times = repeats // _AT_ONCE
    start_s = 0.0
    for i in range(-max(1, warm_up // _AT_ONCE), times):
        if i == 0:
            start_s = time.perf_counter()
        team.run(0, len(table), 1, attend=settle)
    print((time.perf_counter() - start_s) / (times * _AT_ONCE), flush=True)
    del kept
    links.close()


def _rounds(name: Collective, links: Links, n_bytes: int) -> tuple[Program, Any]:
    """Nothing but the frames."""
    program = Program(1e-5, 1)
    out = np.zeros(max(n_bytes * links.world_size, 1), np.uint8)
    into = np.zeros((links.world_size, len(out)), np.uint8)
    tables: list[Table] = []
    for found in frames(name, links.rank, links.world_size, n_bytes):
        routes = links.routes()
        for peer, (send, receive) in enumerate(found):
            if send != NO_FRAME:
                routes[peer, [SEND_AT, SEND_BYTES]] = out.ctypes.data, send
            if receive != NO_FRAME:
                routes[peer, [RECV_AT, RECV_BYTES]] = into[peer].ctypes.data, receive
        tables.append(routes)
    for _ in range(_AT_ONCE):
        for routes in tables:
            program.exchange(KINDS[SYNC_NODE_SLICES], links.table, links.mesh, routes)

    return program, (out, into, tables)


def _sums(name: Collective, links: Links, n_bytes: int) -> tuple[Program, Any]:
    """All-reduces of float32 vectors of so many bytes."""
    n, dim = links.world_size, n_bytes // 4
    room: dict[str, npt.NDArray[Any]] = {
        "gathered": np.zeros(n * n_bytes, np.uint8),
        "outgoing": np.zeros(n * n_bytes, np.uint8),
        "incoming": np.zeros(n * n_bytes, np.uint8),
        "summed": np.zeros(dim, np.float32),
    }
    combiner = Combiner(links.rank, n, links, FloatType.F32, COLLECTIVES[name], room)
    program, x = Program(1e-5, 1), np.zeros((1, dim), np.float32)
    partial = np.full((1, dim), 1.0, np.float32)
    for _ in range(_AT_ONCE):
        combiner.all_reduce(program, partial, x)
    return program, (room, x, partial, combiner)


if __name__ == "__main__":
    main(sys.argv[1:])
