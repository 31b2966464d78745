"""A full mesh: every rank to every other, at once. One round, n - 1 messages a rank.

The best where waiting costs more than bytes: few ranks, small vectors. Partial sums go whole to
everybody, who adds them in rank order: x stays bit-identical on all ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class Mesh:
    """Each link carries the sender's own block: (n - 1) b sent and received by each rank."""

    name = Name.MESH

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """One round."""
        return [tuple(Move(src, dst, src) for src in range(n) for dst in range(n) if src != dst)]

    def first_block(self, rank: int, n: int) -> int:
        """In rank order."""
        return 0

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """None: every rank adds all."""
        return []

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """Messages 1, bytes b(src)."""
        n = len(sizes)
        ends = [(src, dst) for src in range(n) for dst in range(n) if src != dst]
        return {(src, dst): traffic([sizes[src]]) for src, dst in ends}

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 1, bytes b."""
        return self.gather_flow([whole] * len(chunks))
