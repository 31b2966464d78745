"""How fast weights are packed, beside memcpy."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from benchmarks.table import Row
from dllama_engine.arrays import Bytes
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.transformer.weights import RankWeights

_ONE_LAYER = "llama-7b,n_layers=1,vocab_size=512"


def packing_rows(threads: list[int], rounds: int) -> list[Row]:
    """Packing on each number of threads."""
    return [_packing_row(n, rounds) for n in threads]


def _packing_row(n_threads: int, rounds: int) -> Row:
    """The matrices of one 7B layer, packed and copied in turns into memory that was touched."""
    where = f"{n_threads} thread{'s' * (n_threads > 1)}"
    row = Row(f"packing Q40 weights, {where}", "GB/s", "memcpy")
    config = parse_shape(_ONE_LAYER)
    specs = [spec for spec in tensor_specs(config) if "block_matmul" in spec.name]
    source = _random_blocks(sum(spec.nbytes for spec in specs))
    target = np.ones_like(source)
    with ThreadPoolExecutor(n_threads) as pool:
        _packing_s(_touched(config, n_threads), specs, source)  # compiled
        for _ in range(rounds):
            weights = _touched(config, n_threads)
            row.samples.append(source.nbytes / _packing_s(weights, specs, source) / 1e9)
            row.yard_samples.append(
                source.nbytes / _copying_s(pool, n_threads, source, target) / 1e9
            )
    return row


def _random_blocks(n_bytes: int) -> Bytes:
    """Q40 blocks as stored, with finite deltas."""
    blocks = np.random.default_rng(0).integers(0, 256, (n_bytes // 18, 18), np.uint8)
    blocks[:, 1] &= 0xBB
    return blocks.reshape(-1)


def _touched(config: ModelConfig, n_threads: int) -> RankWeights:
    weights = RankWeights(make_plan(config, 1), 0, n_threads)
    for linear in weights.linears.values():
        for array in linear.packed:
            array.fill(1)
    return weights


def _packing_s(weights: RankWeights, specs: list[TensorSpec], source: Bytes) -> float:
    start_s, at = time.perf_counter(), 0
    for spec in specs:
        weights.add(spec, source[at : at + spec.nbytes].reshape(spec.shape[0], -1))
        at += spec.nbytes
    return time.perf_counter() - start_s


def _copying_s(pool: ThreadPoolExecutor, n_threads: int, source: Bytes, target: Bytes) -> float:
    start_s = time.perf_counter()
    parts = zip(np.array_split(target, n_threads), np.array_split(source, n_threads), strict=True)
    wait([pool.submit(np.copyto, *part) for part in parts])
    return time.perf_counter() - start_s
