"""Two lanes of all-reduces woven into one program, with frames larger than a socket takes."""

from __future__ import annotations

import numpy as np

from dllama_engine.collectives.combine import Combiner
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.formats.quants import FloatType
from dllama_engine.program.program import Program
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.program.weave import woven
from dllama_engine.sharding.collective import Collective
from dllama_engine.wire.links import Links

DIM, LAYERS = 1 << 18, 3  # a frame is 1 MiB: more than a socket takes
FACTORS = (1, 10)


def _sums(rank: int, n: int, links: Links, lane: int, x: np.ndarray) -> tuple[Program, object]:
    """All-reduces of x itself, again and again: each lane has its own."""
    room = {"gathered": np.zeros(4 * n * DIM, np.uint8)}
    mesh = COLLECTIVES[Collective.MESH]
    combiner = Combiner(rank, n, links, FloatType.F32, mesh, room)
    program = Program(1e-5, 1, 2, lane)
    for _ in range(LAYERS):
        combiner.all_reduce(program, x, x)
        program.pause()
    return program, (room, combiner)


def run_woven(rank: int, links: Links | None) -> list[np.ndarray]:
    """This rank's x of both lanes, `FACTORS[lane]` (rank + 1), after LAYERS all-reduces."""
    assert links is not None
    n = links.world_size
    both = [np.full((1, DIM), factor * (rank + 1), np.float32) for factor in FACTORS]
    written = [_sums(rank, n, links, lane, x) for lane, x in enumerate(both)]
    program = Program(1e-5, 1, 2)
    program.rows += woven(*(one.rows for one, _ in written))
    team = ThreadTeam(2)
    team.install(program.table())
    try:
        team.run(0, len(program), 1, attend=lambda op, status: links.settle(status), second=(1, 0))
    finally:
        team.close()
    return both


def expected(n: int, rank: int) -> list[np.ndarray]:
    """What that rank must have."""
    sums = [float(rank + 1) for rank in range(n)]
    for _ in range(LAYERS):
        sums = [own + sum(sums) for own in sums]
    return [np.full((1, DIM), factor * sums[rank], np.float32) for factor in FACTORS]
