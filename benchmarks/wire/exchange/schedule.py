"""Which frames each rank sends and receives, round by round, in an all-reduce of some bytes."""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import split_units

_UNIT_BYTES = 4  # chunks are of whole float32
NO_FRAME = -1

Frames = Sequence[tuple[int, int]]  # by rank: payload bytes to send to it, to receive from it


def frames(name: Collective, rank: int, n: int, n_bytes: int) -> list[Frames]:
    """The rounds in which `rank` takes part.

    Args:
        name: of the collective.
        rank: whose frames.
        n: number of ranks.
        n_bytes: of each rank's vector.
    """
    collective = COLLECTIVES[name]
    sizes = [n_bytes] * n
    if collective.scatter_rounds(n):
        chunks = split_units(n_bytes, _UNIT_BYTES, n)
        sizes = [chunk.size for chunk in chunks]
        if name is Collective.STAR:
            sizes = [n_bytes] + [0] * (n - 1)
    rounds: list[Frames] = []
    for moves in (*collective.scatter_rounds(n), *collective.gather_rounds(n)):
        found = [[NO_FRAME, NO_FRAME] for _ in range(n)]
        for move in moves:
            size = sum(sizes[(move.first + i) % n] for i in range(move.count))
            if size and move.src == rank:
                found[move.dst][0] = size
            elif size and move.dst == rank:
                found[move.src][1] = size
        if any(size != NO_FRAME for pair in found for size in pair):
            rounds.append([(send, receive) for send, receive in found])
    return rounds


def as_text(rounds: Sequence[Frames]) -> str:
    """As the C program reads it."""
    numbers = [size for frames in rounds for pair in frames for size in pair]
    return " ".join(map(str, (len(rounds), *numbers))) + "\n"
