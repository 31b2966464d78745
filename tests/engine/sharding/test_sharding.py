from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.errors import PlanError
from dllama_engine.formats.config import Arch, ModelConfig, RopeType
from dllama_engine.formats.model_file import ModelFile, tensor_specs
from dllama_engine.formats.quants import FloatType, row_bytes
from dllama_engine.sharding import slices
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan, split_units
from dllama_engine.sharding.slices import slice_nbytes, slice_tensor, tensor_spans
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import CountingRun, run_ranks


def config(**changes: object) -> ModelConfig:
    values: dict[str, object] = {
        "arch": Arch.LLAMA,
        "dim": 256,
        "hidden_dim": 320,
        "n_layers": 2,
        "n_heads": 8,
        "n_kv_heads": 4,
        "head_dim": 32,
        "vocab_size": 300,
        "seq_len": 64,
        "weight_type": FloatType.Q40,
    }
    return ModelConfig(**(values | changes))  # type: ignore[arg-type]


LLAMA_30B = config(
    dim=6656, hidden_dim=17920, n_layers=60, n_heads=52, n_kv_heads=52, head_dim=128,
    vocab_size=32000, seq_len=2048,
)  # fmt: skip
MOE = config(
    arch=Arch.QWEN3_MOE,
    rope_type=RopeType.FALCON,
    n_experts=8,
    n_active_experts=3,
    moe_hidden_dim=128,
)
CONFIGS = [config(), config(n_kv_heads=8), config(n_kv_heads=1), config(head_dim=16), MOE]


@given(st.integers(0, 500), st.integers(1, 40), st.integers(1, 20))
def test_split_covers_everything_once_in_order(total: int, unit: int, world_size: int) -> None:
    spans = split_units(total, unit, world_size)
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(total))
    assert all(span.start % unit == 0 for span in spans if span.size)
    sizes = [-(-span.size // unit) for span in spans]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("model", CONFIGS)
@pytest.mark.parametrize("world_size", range(1, 9))
def test_slices_tile_every_split_tensor(
    model: ModelConfig, sync_mode: SyncMode, world_size: int
) -> None:
    """Each weight stands on exactly one rank, but for replicated norms, gates and K/V heads."""
    plan = make_plan(model, world_size, sync_mode=sync_mode)
    for spec in tensor_specs(model):
        held = np.zeros(spec.shape, np.int32)
        for rank in range(world_size):
            spans = tensor_spans(plan, spec, rank)
            if spans is not None:
                rows, cols = spans
                held[rows.start : rows.stop, cols.start : cols.stop] += 1
        assert (held >= 1).all(), spec.label
        replicated = "norm" in spec.name or "gate" in spec.name
        if not replicated and spec.name not in ("block_matmul_k", "block_matmul_v"):
            assert (held == 1).all(), spec.label


@pytest.mark.parametrize("model", CONFIGS)
@pytest.mark.parametrize("world_size", range(1, 9))
def test_each_rank_has_the_kv_heads_that_its_queries_read(
    model: ModelConfig, world_size: int
) -> None:
    group = model.n_heads // model.n_kv_heads
    for shard in make_plan(model, world_size).ranks:
        needed = {head // group for head in range(shard.heads.start, shard.heads.stop)}
        assert needed == set(range(shard.kv_heads.start, shard.kv_heads.stop))


def test_52_heads_run_on_8_nodes() -> None:
    plan = make_plan(LLAMA_30B, 8)
    assert [shard.heads.size for shard in plan.ranks] == [7, 7, 7, 7, 6, 6, 6, 6]
    assert sum(shard.ffn.size for shard in plan.ranks) == 17920


def test_kv_heads_are_not_replicated_while_there_are_enough() -> None:
    plan = make_plan(config(n_kv_heads=4), 4)
    assert [shard.kv_heads.size for shard in plan.ranks] == [1, 1, 1, 1]


def test_the_table_names_every_tensor_of_every_architecture() -> None:
    qwen3 = config(arch=Arch.QWEN3, rope_type=RopeType.FALCON)
    named = {
        *slices._COLUMN_PARALLEL, *slices._ROW_PARALLEL, *slices._ROOT_ONLY, *slices._REPLICATED
    }  # fmt: skip
    found: set[str] = set()
    for model in (config(), qwen3, MOE):
        names = {spec.name for spec in tensor_specs(model)}
        assert names <= named
        found |= names
    assert found == named


@pytest.mark.parametrize("world_size", [0, -1, 9])
def test_too_many_nodes_says_the_limit(world_size: int) -> None:
    with pytest.raises(PlanError, match=rf"{world_size} nodes: .* 1 to 8 nodes.*fewer nodes"):
        make_plan(config(), world_size)


def test_buffers_that_do_not_fit_name_the_remedy() -> None:
    odd = config(weight_type=FloatType.F32, dim=48, n_heads=3, n_kv_heads=3, head_dim=16)
    with pytest.raises(PlanError, match=r"dim 48 is not a multiple .* 32; use --buffer-float-type"):
        make_plan(odd, 2)
    assert make_plan(odd, 3, buffer_type=FloatType.F32).world_size == 3


def test_plan_survives_json() -> None:
    plan = make_plan(MOE, 3, buffer_type=FloatType.F32, sync_mode=SyncMode.INVARIANT)
    assert ShardPlan.from_json(plan.to_json()) == plan


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.sampled_from(list(SyncMode)))
def test_slice_bytes_are_those_of_the_slice(world_size: int, sync_mode: SyncMode) -> None:
    with ModelFile.open(GOLDEN / "qwen3moe_q40.m") as model:
        plan = make_plan(model.config, world_size, sync_mode=sync_mode)
        for spec in model.specs:
            part = slice_tensor(model.raw(spec), spec, plan, world_size - 1)
            size = 0 if part is None else part.nbytes
            assert size == slice_nbytes(plan, spec, world_size - 1)


def test_slices_put_together_are_the_tensor() -> None:
    with ModelFile.open(GOLDEN / "llama_q40.m") as model:
        plan = make_plan(model.config, 3)
        for name, axis in (("block_matmul_w1", 0), ("block_matmul_w2", 1)):
            spec = next(s for s in model.specs if s.name == name)
            raw = model.raw(spec)
            parts = [slice_tensor(raw, spec, plan, rank) for rank in range(3)]
            assert np.array_equal(np.concatenate([p for p in parts if p is not None], axis), raw)


def test_reduce_traffic_is_the_closed_form_of_dllama() -> None:
    """13B on n nodes: root sends (n-1) * (8 + 4 dim + 2 L b(dim)), as FORMATS says."""
    llama_13b = config(
        dim=5120, hidden_dim=13824, n_layers=40, n_heads=40, n_kv_heads=40, head_dim=128,
        vocab_size=32000, seq_len=2048,
    )  # fmt: skip
    vector = row_bytes(FloatType.Q80, 5120)
    for n in (2, 4, 8):
        traffic = step_traffic(make_plan(llama_13b, n), 1, 1)
        sent = sum(t.payload_bytes for (src, _), t in traffic.items() if src == 0)
        received = sum(t.payload_bytes for (_, dst), t in traffic.items() if dst == 0)
        assert sent == (n - 1) * (8 + 4 * 5120 + 2 * 40 * vector)
        assert received == (n - 1) * (2 * 40 * vector + 4 * 32000 // n)


@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("model", ["llama_q40", "qwen3moe_q40"])
@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_bytes_on_the_sockets_are_the_predicted_ones(
    model: str, world_size: int, sync_mode: SyncMode, buffer_type: FloatType
) -> None:
    run = CountingRun(GOLDEN / f"{model}.m", world_size, buffer_type, sync_mode)
    run.logits([1, 2, 3])
    control = 8 + 4 * run.plan.config.dim * 3  # the root's broadcast, which this run leaves out
    for (src, dst), traffic in step_traffic(run.plan, 3, 3).items():
        broadcast = (1, control) if src == 0 else (0, 0)
        counted = run.sent[src, dst]
        assert counted == (traffic.messages - broadcast[0], traffic.payload_bytes - broadcast[1])


def test_a_failing_rank_is_reported_and_not_hung_on() -> None:
    def main(rank: int, links: object) -> int:
        if rank == 1:
            raise PlanError("rank 1 gives up")
        return rank

    with pytest.raises(PlanError, match="rank 1 gives up"):
        run_ranks(2, main)
