"""What `rank_memory` says against what the arrays really hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dllama_engine.cluster.setup.admission import check_memory
from dllama_engine.errors import InsufficientMemoryError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import rank_memory
from dllama_engine.sharding.plan import SyncMode, make_plan
from dllama_engine.sharding.slices import slice_tensor
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.system.sizes import format_bytes
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.connecting.handshake import WorkerInfo
from tests.data import MODELS as GOLDEN
from tests.engine.processes import Node, read_events, run, start_worker


@pytest.mark.parametrize("kv_type", [FloatType.F32, FloatType.F16])
@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("name", ["llama_q40", "qwen3_f32", "qwen3moe_q40"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_arithmetic_is_what_is_allocated(
    name: str, world_size: int, sync_mode: SyncMode, kv_type: FloatType
) -> None:
    with ModelFile.open(GOLDEN / f"{name}.m") as model:
        plan = make_plan(model.config, world_size, sync_mode=sync_mode)
        rank = world_size - 1
        memory = rank_memory(plan, rank, batch_size=4, max_seq_len=100, kv_type=kv_type)
        weights = RankWeights(plan, rank)
        for spec in model.specs[1:]:
            part = slice_tensor(model.raw(spec), spec, plan, rank)
            if part is not None:
                weights.add(spec, part)
    transformer = Transformer(
        plan, rank, weights, None, max_seq_len=100, batch_size=4, kv_type=kv_type
    )
    cache = transformer._shared.cache
    assert memory.kv_cache_bytes == cache.keys.nbytes + cache.values.nbytes
    assert memory.weight_bytes == pytest.approx(weights.nbytes, rel=0.01)
    held = {array.ctypes.data: array.nbytes for array in _arrays(transformer) if array.nbytes}
    assert sum(held.values()) == memory.buffer_bytes
    transformer.close()


def _arrays(transformer: Transformer) -> Iterator[np.ndarray]:
    """All that it holds, but weights and cache; what its layers hold of that are views."""
    shared = transformer._shared
    yield from transformer._arrays.values()
    yield from transformer._room.values()
    yield from (*shared.tables, shared.first_head)


@pytest.fixture
def new_workers(tmp_path: Path) -> Iterator[list[Node]]:
    """Workers without the kernels of other kinds of models that a long life collects."""
    nodes = [start_worker(tmp_path, f"new{rank}") for rank in (1, 2)]
    yield nodes
    for node in nodes:
        assert node.stop() == 0, node.log


def test_the_plan_says_what_the_processes_take(new_workers: list[Node], tmp_path: Path) -> None:
    """Peak resident memory of root and workers against `dllama-py plan`, within 10 %."""
    shape = "llama-160m,seq_len=1024"
    model, tokenizer = write_synthetic(shape, tmp_path)
    planned = json.loads(run("plan", "--model", model, "--nodes", 3, "--json").stdout)
    for session in range(3):  # the last session's memory must be gone
        events = tmp_path / f"events{session}.jsonl"
        done = run(
            *("inference", "--model", model, "--tokenizer", tokenizer, "--events", events),
            *("--prompt", "Hello world", "--steps", 6, "--temperature", 0),
            *("--workers", *(node.address for node in new_workers)),
        )
        assert done.returncode == 0, done.stderr
        ranks = [event for event in read_events(events) if event["event"] == "rank"]
        assert len(ranks) == 3
        for rank, plan in zip(ranks, planned["ranks"], strict=True):
            own = plan["weight_bytes"] + plan["kv_cache_bytes"] + plan["buffer_bytes"]
            assert own > 50e6  # else this would measure the interpreter alone
            is_root = rank["role"] == "root"
            expected = own + planned["runtime_bytes" if is_root else "worker_runtime_bytes"]
            assert rank["peak_rss_bytes"] == pytest.approx(expected, rel=0.1), rank["role"]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_nobody_holds_a_second_copy_of_the_weights(
    new_workers: list[Node], tmp_path: Path, n_workers: int
) -> None:
    """Peak of a node at most 1.1 x (its shard + KV cache + buffers), and what the program takes."""
    model, tokenizer = write_synthetic("tinyllama-1.1b", tmp_path)
    events = tmp_path / "events.jsonl"
    addresses = [node.address for node in new_workers[:n_workers]]
    more = ["--workers", *addresses] if addresses else ["--nthreads", 2]
    done = run(
        *("inference", "--model", model, "--tokenizer", tokenizer, "--events", events),
        *("--prompt", "Hello world", "--steps", 4, "--max-seq-len", 512, *more),
    )
    assert done.returncode == 0, done.stderr
    ranks = [event for event in read_events(events) if event["event"] == "rank"]
    plan = make_plan(parse_shape("tinyllama-1.1b"), 1 + n_workers)
    assert len(ranks) == plan.world_size
    for rank, found in enumerate(ranks):
        needed = rank_memory(plan, rank, batch_size=32, max_seq_len=512, kv_type=FloatType.F32)
        own_bytes = needed.total_bytes - needed.runtime_bytes
        assert found["peak_rss_bytes"] <= 1.1 * own_bytes + needed.runtime_bytes, rank
        assert found["peak_rss_bytes"] > own_bytes  # else this would measure nothing


def test_the_plan_and_the_refusal_count_the_same() -> None:
    plan = make_plan(parse_shape("llama-30b"), 2)
    needed = {
        rank: rank_memory(plan, rank, batch_size=32, max_seq_len=2048, kv_type=FloatType.F32)
        for rank in range(2)
    }
    infos = {rank: WorkerInfo(f"pi-{rank}", 1, f"boot-{rank}", 0, 1, "0") for rank in range(2)}
    with pytest.raises(InsufficientMemoryError) as caught:
        check_memory(needed, infos)
    lines = run("plan", "--shape", "llama-30b", "--nodes", 2).stdout.splitlines()
    for rank in range(2):
        total = format_bytes(needed[rank].total_bytes)
        assert f"host pi-{rank} has 0 B available and needs {total}" in str(caught.value)
        assert lines[4 + rank].endswith(total)
