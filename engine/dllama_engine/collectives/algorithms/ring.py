"""A ring: each rank sends to the next only, n - 1 rounds to sum and n - 1 to gather.

2 b (n - 1) / n bytes a rank, as two shots, over one link each way, whatever n; but 2 (n - 1) waits
one behind the other. A sum is cast to the buffer type at every hop, so x differs from the mesh's in
its last bits; it is the same on all ranks (Patarasuk, Yuan, 2009). Slices (INVARIANT) are handed on
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class Ring:
    """Only the link to the next rank carries anything."""

    name = Name.RING

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """Round k hands on the block that began k ranks before."""
        return [
            tuple(Move(rank, (rank + 1) % n, (rank - k) % n) for rank in range(n))
            for k in range(n - 1)
        ]

    def first_block(self, rank: int, n: int) -> int:
        """In rank order."""
        return 0

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """A rank's columns start behind it and come round to it, each rank adding its own."""
        return [
            tuple(Move(rank, (rank + 1) % n, (rank - k - 1) % n) for rank in range(n))
            for k in range(n - 1)
        ]

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """Messages n - 1: all blocks but the receiver's own."""
        n = len(sizes)
        return {(r, (r + 1) % n): traffic(_without(sizes, (r + 1) % n)) for r in range(n)}

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 2 (n - 1): all chunks but the sender's, then all but the receiver's."""
        n = len(chunks)
        gathered = self.gather_flow(chunks)
        return {
            (r, (r + 1) % n): traffic(_without(chunks, r)) + gathered[r, (r + 1) % n]
            for r in range(n)
        }


def _without(sizes: Sequence[int], rank: int) -> list[int]:
    return [size for other, size in enumerate(sizes) if other != rank]
