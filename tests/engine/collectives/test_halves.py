"""Batches in halves, one on the wire while the other is computed: the same bits, as many bytes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import SyncMode
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import CountingRun

IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
BATCHES = [5, 1, 2, 1]  # an odd one, single tokens, and the least that has halves
CASES = [
    ("llama_q40", SyncMode.REDUCE, FloatType.Q80),
    ("qwen3moe_q40", SyncMode.INVARIANT, FloatType.Q80),
    ("qwen3_f32", SyncMode.REDUCE, FloatType.F32),
]


def both(
    model: str, nodes: int, name: Collective, sync_mode: SyncMode, buffer_type: FloatType
) -> tuple[CountingRun, CountingRun, list[np.ndarray]]:
    """A model's batches whole and in halves: the runs and their logits."""
    runs = [
        CountingRun(
            GOLDEN / f"{model}.m", nodes, buffer_type, sync_mode, name,
            in_halves=in_halves, batches=BATCHES, batch_size=6, n_threads=2,
        )
        for in_halves in (False, True)
    ]  # fmt: skip
    return runs[0], runs[1], [run.logits(IDS) for run in runs]


@pytest.mark.parametrize("name", [name for name in Collective if name is not Collective.AUTO])
@pytest.mark.parametrize(("nodes", "case"), list(itertools.product([2, 3, 8], CASES)))
def test_halves_change_no_bit_and_no_byte(
    name: Collective, nodes: int, case: tuple[str, SyncMode, FloatType]
) -> None:
    """By any collective; messages are those of the closed form, twice as many in a cut batch."""
    whole, halves, (expected, got) = both(case[0], nodes, name, *case[1:])
    assert np.array_equal(got, expected)
    steps = [step_traffic(halves.plan, n, n) for n in BATCHES]
    for ends, (messages, payload) in halves.sent.items():
        if ends not in steps[0]:
            continue
        assert payload == whole.sent[ends][1]
        control = len(BATCHES) if ends[0] == 0 else 0
        assert messages == sum(step[ends].messages for step in steps) - control
        cut = [2 if n > 1 else 1 for n in BATCHES]
        in_layers = step_traffic(whole.plan, 1, 0)[ends].messages - (ends[0] == 0)
        assert messages - whole.sent[ends][0] == in_layers * (sum(cut) - len(BATCHES))
