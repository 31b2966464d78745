"""Greedy decoding on the root: tokens in a row, each the most probable one, without Python between.

Compiled code (`kernels.run.decoding.next_token`) writes down what each step was; here that becomes
what `Root.forward` and a sampler would have told of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dllama_engine.arrays import Floats, Table
from dllama_engine.program.operands import GreedyLoop
from dllama_engine.tables.links import LINK_WIDTH
from dllama_engine.tables.steps import (
    FIRST_ID,
    FIRST_LOGIT,
    SECOND_ID,
    SECOND_LOGIT,
    STEP_WIDTH,
    TAKEN_NS,
)
from dllama_engine.telemetry.step_cost import GreedyToken, StepCost
from dllama_engine.transformer.embedding import EmbeddingTable

MOST_STEPS = 256  # in a row; then Python is told of them
LONGEST_NS = 500_000_000  # likewise: whoever reads sees signs of life


class GreedySteps:
    """The tables that steps are written down in.

    Args:
        world_size: number of ranks.
    """

    def __init__(self, world_size: int) -> None:
        # Written to now: no step is the first to touch a page of them.
        self._rows: Table = np.ones((MOST_STEPS, STEP_WIDTH), np.int64)
        self.counters: Table = np.ones((MOST_STEPS, world_size, LINK_WIDTH), np.int64)

    def loop(self, logits: Floats | None, embedding: EmbeddingTable) -> GreedyLoop:
        """What compiled code works on.

        Args:
            logits: all ranks', float32 (vocab,); None: the root's own are all.
            embedding: the rows that tokens begin their steps with.
        """
        return GreedyLoop(
            vocab_size=len(embedding.finite),
            logits=logits,
            file=embedding.descriptor,
            first_embedding=embedding.offset,
            finite=embedding.finite,
            steps=self._rows,
            counters=self.counters,
        )

    def rows(self, n_steps: int) -> Table:
        """What was written down of the first steps, int64 (n_steps, STEP_WIDTH)."""
        return self._rows[:n_steps]

    def tokens(self, costs: Sequence[StepCost]) -> Iterator[GreedyToken]:
        """The token of each step, whose costs are given."""
        rows = self.rows(len(costs))
        values = rows[:, [FIRST_LOGIT, SECOND_LOGIT]].astype(np.int32).view(np.float32).tolist()
        ids = rows[:, [FIRST_ID, SECOND_ID]].tolist()
        ends_ns = rows[:, TAKEN_NS].tolist()
        for (first, second), (value, next_value), cost, end_ns in zip(
            ids, values, costs, ends_ns, strict=True
        ):
            yield GreedyToken(first, ((first, value), (second, next_value)), cost, end_ns)
