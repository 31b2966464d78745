"""How often a forward pass goes into compiled code, and which rows of a batch give logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.formats.model_file import ModelFile
from dllama_engine.program import threads
from dllama_engine.sharding.collective import Collective, Pick
from dllama_engine.sharding.plan import make_plan
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.wire.links import Links
from tests.data import MODELS
from tests.engine.ranks import rank_weights, run_ranks

IDS = [1, 2, 3, 4, 5, 6]
Steps = list[tuple[int, int]]  # (tokens, logits)


class Counted:
    """Compiled code that counts its calls."""

    def __init__(self) -> None:
        self.calls, self._lead = 0, threads.LEAD

    def __call__(self, *arguments: int) -> int:
        self.calls += 1
        return self._lead(*arguments)


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(threads, "LEAD", counted)
    return counted


def run(
    steps: Steps, picks: tuple[Pick, ...] = (), nodes: int = 1
) -> list[npt.NDArray[np.float32]]:
    """Each step's logits on rank 0, of its own rows of the vocabulary."""

    def rank_main(rank: int, links: Links | None) -> list[npt.NDArray[np.float32]]:
        transformer = Transformer(plan, rank, rank_weights(model, plan, rank), links)
        found, pos = [], 0
        for n_tokens, n_logits in steps:
            found.append(transformer.forward(x[pos : pos + n_tokens], pos, n_logits).copy())
            pos += n_tokens
        transformer.close()
        return found

    with ModelFile.open(MODELS / "llama_q40.m") as model:
        plan = make_plan(model.config, nodes)
        plan = plan.with_picks(picks) if picks else plan
        x = np.ascontiguousarray(model.raw(model.specs[0]).view(np.float32)[IDS])
        return run_ranks(nodes, rank_main)[0]


def test_a_token_goes_into_compiled_code_once(lead: Counted) -> None:
    """Layers and logits: between two calls all ranks wait for Python."""
    run([(1, 1)] * 3)
    assert lead.calls == 3


def test_so_does_a_token_whose_batches_have_another_collective(lead: Counted) -> None:
    picks = Pick(1, Collective.DOUBLING), Pick(2, Collective.MESH)
    run([(1, 1)], picks, nodes=2)
    assert lead.calls == 2  # one a rank
    run([(3, 0)], picks, nodes=2)
    assert lead.calls == 4  # no logits, no second call


@pytest.mark.parametrize("n_logits", [1, 2, 4])
def test_logits_are_of_the_last_tokens(n_logits: int) -> None:
    picks = Pick(1, Collective.DOUBLING), Pick(2, Collective.MESH)
    for by, nodes in (((), 1), (picks, 2)):
        (every, after) = run([(4, 4), (1, 1)], by, nodes)
        (some, then) = run([(4, n_logits), (1, 1)], by, nodes)
        assert np.array_equal(some, every[-n_logits:])
        assert np.array_equal(after, then)
