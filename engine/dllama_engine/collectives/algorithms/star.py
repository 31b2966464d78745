"""A star: everything goes to rank 0 and comes back from it. 2 (n - 1) messages in all.

The fewest messages, but the root's link carries (n - 1) b in and out. The root's sum is cast to the
buffer type a second time; it is the same on all ranks. Slices (INVARIANT) come back whole,
by the gather and the broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.algorithms.gather_bcast import GatherBcast
from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class Star(GatherBcast):
    """Only the links between the root and the others carry anything; slices go as there."""

    name = Name.STAR

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """One round: to the root, whose columns all are."""
        return [tuple(Move(rank, 0, 0) for rank in range(1, n))]

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 1, bytes b, both ways; the chunks are the root's."""
        ranks = range(1, len(chunks))
        return {ends: traffic([whole]) for rank in ranks for ends in ((rank, 0), (0, rank))}
