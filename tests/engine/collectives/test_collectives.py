"""Every collective over real sockets: the sums, the tokens of the golden model, and the bytes."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.formats.paths import model_path, tokenizer_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import SyncMode
from dllama_engine.text.tokenizer import read_tokenizer
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import CountingRun, ModelRun

NAMES = list(Collective)
EXACT = [name for name in NAMES if not name.scatters]
IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
BATCHES = [6, 1, 2]
Logits = npt.NDArray[np.float32]


@cache
def logits(
    name: Collective, nodes: int, sync_mode: SyncMode, model: str, buffer_type: FloatType
) -> tuple[Logits, CountingRun]:
    run = CountingRun(
        GOLDEN / f"{model}.m", nodes, buffer_type, sync_mode, name, batches=BATCHES, n_threads=2
    )
    return run.logits(IDS), run


@pytest.mark.parametrize("nodes", [2, 3, 5, 8])
@pytest.mark.parametrize("model", ["llama_q40", "qwen3moe_q40"])
def test_what_sums_exactly_has_the_bits_of_the_mesh(model: str, nodes: int) -> None:
    for buffer_type in (FloatType.Q80, FloatType.F32):
        mesh, *others = (
            logits(name, nodes, SyncMode.REDUCE, model, buffer_type)[0] for name in EXACT
        )
        assert len(others) == 2
        assert all(np.array_equal(mesh, other) for other in others)


@pytest.mark.parametrize("name", [name for name in NAMES if name is not Collective.MESH])
@pytest.mark.parametrize("nodes", [2, 3, 5, 8])
def test_slices_arrive_whole_by_any_collective(name: Collective, nodes: int) -> None:
    """Invariant sums are those of one node, to the bit, whoever hands the slices on."""
    for model, buffer_type in (("qwen3moe_q40", FloatType.Q80), ("llama31_f32", FloatType.F32)):
        path = GOLDEN / f"{model}.m"
        alone = ModelRun(path, 1, buffer_type, batches=BATCHES).logits(IDS)
        run = logits(name, nodes, SyncMode.INVARIANT, model, buffer_type)[0]
        assert np.array_equal(run, alone)


@pytest.mark.parametrize("name", [name for name in NAMES if name.scatters])
@pytest.mark.parametrize("nodes", [2, 3, 5, 8])
def test_a_second_cast_moves_the_logits_no_further_than_the_first(
    name: Collective, nodes: int
) -> None:
    """Against the exact sum (f32 buffers); without casts only the order of adding is left."""
    model = "llama_q40"
    exact = logits(Collective.MESH, nodes, SyncMode.REDUCE, model, FloatType.F32)[0]
    f32 = logits(name, nodes, SyncMode.REDUCE, model, FloatType.F32)[0]
    assert 0 <= np.abs(f32 - exact).max() < 0.01 * np.abs(exact).max()
    once = logits(Collective.MESH, nodes, SyncMode.REDUCE, model, FloatType.Q80)[0]
    twice = logits(name, nodes, SyncMode.REDUCE, model, FloatType.Q80)[0]
    assert 0 < np.abs(twice - exact).mean() < 3 * np.abs(once - exact).mean()


@cache
def tokens_of_tiny() -> tuple[list[int], list[int]]:
    """A prompt's ids, and what the shipped model answers on one node, greedily."""
    path = model_path("tiny")
    prompt = read_tokenizer(tokenizer_path(None, path)).encode("Once upon a time")
    ids = list(prompt)
    for _ in range(16):
        ids.append(int(ModelRun(path, 1).logits(ids)[-1].argmax()))
    return prompt, ids


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8])
def test_the_shipped_model_says_the_same_by_any_collective(name: Collective, nodes: int) -> None:
    prompt, ids = tokens_of_tiny()
    got = ModelRun(model_path("tiny"), nodes, collective=name).logits(ids[:-1])
    assert got[len(prompt) - 1 :].argmax(axis=1).tolist() == ids[len(prompt) :]


@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [2, 3, 5, 8])
def test_the_sockets_count_what_the_closed_form_says(
    name: Collective, nodes: int, sync_mode: SyncMode
) -> None:
    for model in ("llama_q40", "qwen3moe_q40"):
        run = logits(name, nodes, sync_mode, model, FloatType.Q80)[1]
        steps = [step_traffic(run.plan, n, n) for n in BATCHES]
        for src, dst in steps[0]:
            control = sum(8 + 4 * run.plan.config.dim * n for n in BATCHES) if src == 0 else 0
            messages = sum(step[src, dst].messages for step in steps)
            payload = sum(step[src, dst].payload_bytes for step in steps)
            expected = (messages - (len(BATCHES) if src == 0 else 0), payload - control)
            assert run.sent[src, dst] == expected, (model, src, dst)


def test_batches_of_another_size_may_have_another_collective() -> None:
    several = "doubling,mesh@2,ring@6"
    run = CountingRun(GOLDEN / "llama_q40.m", 3, collective=several, batches=BATCHES)
    got = run.logits(IDS)
    steps = [step_traffic(run.plan, n, n) for n in BATCHES]
    for src, dst in steps[0]:
        messages = sum(step[src, dst].messages for step in steps)
        assert run.sent[src, dst][0] == messages - (len(BATCHES) if src == 0 else 0)
    assert run.sent[0, 1] != run.sent[1, 0]
    mesh = logits(Collective.MESH, 3, SyncMode.REDUCE, "llama_q40", FloatType.Q80)[0]
    assert np.abs(got - mesh).max() < 0.05 * np.abs(mesh).max()
