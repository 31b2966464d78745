"""A star: everything goes to rank 0 and comes back from it. 2 (n - 1) messages in all.

The fewest messages, but the root's link carries (n - 1) b in and out. The root's sum is cast to the
buffer type a second time; it is the same on all ranks. Slices (INVARIANT) come back whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class Star:
    """Only the links between the root and the others carry anything."""

    name = Name.STAR

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """To the root, and all of it back."""
        inwards = tuple(Move(rank, 0, rank) for rank in range(1, n))
        return [inwards, tuple(Move(0, rank, 0, n) for rank in range(1, n))]

    def first_block(self, rank: int, n: int) -> int:
        """In rank order."""
        return 0

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """One round: to the root, whose columns all are."""
        return [tuple(Move(rank, 0, 0) for rank in range(1, n))]

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """To the root 1 message, b(src); from it 1 message with the bytes of all ranks."""
        ranks = range(1, len(sizes))
        inwards = {(rank, 0): traffic([sizes[rank]]) for rank in ranks}
        return inwards | {(0, rank): traffic([sum(sizes)]) for rank in ranks}

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 1, bytes b, both ways; the chunks are the root's."""
        ranks = range(1, len(chunks))
        return {ends: traffic([whole]) for rank in ranks for ends in ((rank, 0), (0, rank))}
