"""What stands at both ends of a decoded token's operations: frames to and from the root.

With them any number of tokens is one call of compiled code; on the root so many as are greedy.
"""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.arrays import Bytes, Table
from dllama_engine.collectives.logits import LogitsGather
from dllama_engine.program.operands import GreedyLoop


@dataclass(frozen=True, slots=True)
class DecodeEnds:
    """The frames of a rank.

    Attributes:
        logits: the gather of them.
        packet: on the root, routes by which one token's packet goes to the workers.
        next_packet: on a worker, where packets come to; on the root, where they are made.
        greedy: on the root, what it takes tokens from and with.
    """

    logits: LogitsGather
    packet: Table | None = None
    next_packet: Bytes | None = None
    greedy: GreedyLoop | None = None


@dataclass(frozen=True, slots=True)
class DecodeLoop:
    """How a worker's loop went.

    Attributes:
        ended: LEFT, BEGUN or OTHER (`tables.team`); links.DONE where it was none.
        followed: steps after the first.
        computed_ns: of all steps, outside of exchanges.
        over_ns: when the last step was over.
        spent_ns: what the links had spent then.
    """

    ended: int
    followed: int
    computed_ns: int
    over_ns: int
    spent_ns: int
