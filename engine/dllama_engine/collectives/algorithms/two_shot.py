"""Two shots: each rank sums its own columns of all partial sums, then everybody gathers the sums.

Two rounds of n - 1 messages a rank and 2 b (n - 1) / n bytes in place of the mesh's (n - 1) b:
fewer from three ranks on. The sums are cast to the buffer type a second time, so x differs from the
mesh's in its last bits; it is the same on all ranks. Slices (INVARIANT) are gathered as by the
mesh.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllama_engine.collectives.algorithms.mesh import Mesh
from dllama_engine.collectives.base import Flow, Move, Round, traffic
from dllama_engine.sharding.collective import Collective as Name


class TwoShot:
    """Each link carries the receiver's chunk of the sender's partial sum, then the sender's sum."""

    name = Name.TWO_SHOT

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """One round."""
        return Mesh().gather_rounds(n)

    def first_block(self, rank: int, n: int) -> int:
        """In rank order."""
        return 0

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """One round: to each rank its own columns."""
        return [tuple(Move(src, dst, dst) for src in range(n) for dst in range(n) if src != dst)]

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """Messages 1, bytes b(src)."""
        return Mesh().gather_flow(sizes)

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Messages 2, bytes chunk(dst) + chunk(src)."""
        n = len(chunks)
        ends = [(src, dst) for src in range(n) for dst in range(n) if src != dst]
        return {(src, dst): traffic([chunks[dst], chunks[src]]) for src, dst in ends}
