"""A gather to rank 0 and a broadcast of all blocks: 2 (n - 1) messages in all, as few as a star's.

Rank 0 adds nothing up for the others: it hands every block on, and each rank adds all in rank
order. So x is the mesh's, to the bit, and no sum is cast a second time. The price is bytes: the
root's link carries n (n - 1) b out. Of ranks on one machine bytes cost little and messages much.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class GatherBcast:
    """Only the links between the root and the others carry anything."""

    name = Name.GATHER_BCAST

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """To the root, and all of it back."""
        inwards = tuple(Move(rank, 0, rank) for rank in range(1, n))
        return [inwards, tuple(Move(0, rank, 0, n) for rank in range(1, n))]

    def first_block(self, rank: int, n: int) -> int:
        """In rank order."""
        return 0

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """None: every rank adds all."""
        return []

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """To the root 1 message, b(src); from it 1 message with the bytes of all ranks."""
        ranks = range(1, len(sizes))
        inwards = {(rank, 0): traffic([sizes[rank]]) for rank in ranks}
        return inwards | {(0, rank): traffic([sum(sizes)]) for rank in ranks}

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 1; bytes b to the root, n b from it."""
        return self.gather_flow([whole] * len(chunks))
