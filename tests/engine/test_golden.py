"""The forward pass against what the real dllama computed (tests/data/models).

Bounds. f32: 1e-4 of the logits' scale (largest magnitude in the row) in every logit. Q40 with Q80
buffers: dllama itself moves when the node count changes, as every node rounds its own partial sum;
that spread between its own node counts is the bound, in the mean and at most, of this model.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.plan import SyncMode
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import ModelRun

EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())["runs"]
F32_MODELS = ["llama_f32", "llama31_f32", "qwen3_f32"]
Q40_MODELS = ["llama_q40", "llama31_q40", "qwen3_q40", "qwen3moe_q40"]
NODES = (1, 2, 4)
Logits = npt.NDArray[np.float32]


@cache
def reference_logits() -> dict[str, Logits]:
    with np.load(GOLDEN / "expected_logits.npz") as stored:
        return {key: stored[key] for key in stored.files}


@cache
def our_logits(model: str, nodes: int) -> Logits:
    buffer_type = FloatType.F32 if model in F32_MODELS else FloatType.Q80
    run = ModelRun(GOLDEN / f"{model}.m", nodes, buffer_type)
    return run.logits(EXPECTED[f"{model}/n{nodes}"]["input_ids"])


def reference_spread(model: str) -> Logits:
    """|difference| of dllama's logits between its own node counts, all three pairs."""
    logits = [reference_logits()[f"{model}_n{n}"] for n in NODES]
    return np.stack([np.abs(a - b) for i, a in enumerate(logits) for b in logits[:i]])


def probabilities_of_next(logits: Logits, ids: list[int]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted[np.arange(len(ids) - 1), ids[1:]]


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", F32_MODELS)
def test_f32_logits_are_dllamas(model: str, nodes: int) -> None:
    expected = reference_logits()[f"{model}_n{nodes}"]
    got = our_logits(model, nodes)[: len(expected)]
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(got - expected) / scale).max() < 1e-4


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", Q40_MODELS)
def test_q40_logits_are_within_dllamas_own_spread(model: str, nodes: int) -> None:
    expected = reference_logits()[f"{model}_n{nodes}"]
    difference = np.abs(our_logits(model, nodes)[: len(expected)] - expected)
    spread = reference_spread(model)
    assert difference.mean() < spread.mean()
    assert difference.max() < spread.max()


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", F32_MODELS + Q40_MODELS)
def test_probability_of_each_next_token(model: str, nodes: int) -> None:
    """A logit that moves by s moves log p by 2 s at most; printed with six decimals."""
    run = EXPECTED[f"{model}/n{nodes}"]
    got = probabilities_of_next(our_logits(model, nodes)[:-1], run["input_ids"])
    expected = np.array(run["prob_of_next"])
    spread = 1e-4 if model in F32_MODELS else float(reference_spread(model).max())
    assert (np.abs(got - expected) <= expected * (math.exp(2 * spread) - 1) + 1e-6).all()


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", F32_MODELS + Q40_MODELS)
def test_perplexity_within_half_a_percent(model: str, nodes: int) -> None:
    run = EXPECTED[f"{model}/n{nodes}"]
    got = probabilities_of_next(our_logits(model, nodes)[:-1], run["input_ids"])
    perplexity = math.exp(-np.log(got).mean())
    assert perplexity == pytest.approx(run["perplexity"], rel=0.005)


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", F32_MODELS)
def test_f32_greedy_ids_are_dllamas(model: str, nodes: int) -> None:
    run = EXPECTED[f"{model}/n{nodes}"]
    ids = run["input_ids"] + run["greedy_ids"][:-1]
    logits = ModelRun(GOLDEN / f"{model}.m", nodes, FloatType.F32).logits(ids)
    start = len(run["input_ids"]) - 1
    assert logits[start:].argmax(axis=1).tolist() == run["greedy_ids"]


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("model", Q40_MODELS)
def test_q40_greedy_ids_are_dllamas_up_to_near_ties(model: str, nodes: int) -> None:
    """Fed dllama's own ids, our choice is its choice, or lies within its spread of the best."""
    run = EXPECTED[f"{model}/n{nodes}"]
    ids = run["input_ids"] + run["greedy_ids"][:-1]
    logits = ModelRun(GOLDEN / f"{model}.m", nodes).logits(ids)[len(run["input_ids"]) - 1 :]
    theirs = logits[np.arange(len(logits)), run["greedy_ids"]]
    assert (logits.max(axis=1) - theirs < 2 * reference_spread(model).max()).all()
    assert (logits.argmax(axis=1) == run["greedy_ids"]).mean() > 0.8


@pytest.mark.parametrize("model", [*Q40_MODELS, "llama31_f32"])
@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
def test_invariant_logits_are_bit_identical_on_any_node_count(
    model: str, buffer_type: FloatType
) -> None:
    ids = EXPECTED[f"{model}/n1"]["input_ids"]
    alone = ModelRun(GOLDEN / f"{model}.m", 1, buffer_type).logits(ids)
    for nodes in (1, 2, 3, 4, 5, 8):
        run = ModelRun(GOLDEN / f"{model}.m", nodes, buffer_type, SyncMode.INVARIANT)
        assert np.array_equal(run.logits(ids), alone), f"{nodes} nodes"


@pytest.mark.parametrize("nodes", [3, 5, 6, 7, 8])
@pytest.mark.parametrize("model", Q40_MODELS)
def test_uneven_node_counts_stay_within_the_spread(model: str, nodes: int) -> None:
    """No reference there: against one node, within what dllama moves between node counts."""
    ids = EXPECTED[f"{model}/n1"]["input_ids"]
    got = ModelRun(GOLDEN / f"{model}.m", nodes).logits(ids)
    difference = np.abs(got - our_logits(model, 1))
    assert difference.mean() < 1.5 * reference_spread(model).mean()
    assert difference.max() < 1.5 * reference_spread(model).max()


@pytest.mark.parametrize("model", ["llama_q40", "qwen3moe_q40", "llama31_f32"])
def test_batches_threads_and_cache_type_do_not_change_the_meaning(model: str) -> None:
    ids = EXPECTED[f"{model}/n1"]["input_ids"]
    buffer_type = FloatType.F32 if model in F32_MODELS else FloatType.Q80
    path = GOLDEN / f"{model}.m"
    whole = our_logits(model, 1)
    one_by_one = ModelRun(path, 1, buffer_type, batches=[1] * len(ids)).logits(ids)
    threaded = ModelRun(path, 2, buffer_type, SyncMode.INVARIANT, n_threads=3).logits(ids)
    half_cache = ModelRun(path, 1, buffer_type, kv_type=FloatType.F16).logits(ids)
    assert np.array_equal(one_by_one, whole)
    assert np.array_equal(threaded, whole)
    bound = 0.01 if model in F32_MODELS else float(reference_spread(model).max())
    assert 0 < np.abs(half_cache - whole).max() < bound
