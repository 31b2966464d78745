"""Compile, or load from the cache, all kernels that a plan will call, before anything is timed.

A tiny model of the same kind runs once. Ranks that start together on one host take turns, so that
one compiles and the others find its result in numba's cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engine.kernels.cache import folder as config_folder
from engine.model_file import ModelConfig, tensor_specs
from engine.quants import FloatType
from engine.sharding import ShardPlan, make_plan, slice_nbytes
from engine.transformer import Transformer
from engine.weights import RankWeights

_DIM = 64


def warm_up(plan: ShardPlan, kv_type: FloatType) -> None:
    """Make every kernel of `plan` ready to call."""
    tiny = make_plan(_tiny(plan.config), 1, buffer_type=plan.buffer_type, sync_mode=plan.sync_mode)
    with _one_at_a_time():
        transformer = Transformer(
            tiny, 0, _zero_weights(tiny), None, max_seq_len=4, n_batches=2, kv_type=kv_type
        )
        for pos, tokens in ((0, 2), (2, 1)):
            transformer.forward(np.zeros((tokens, _DIM), np.float32), pos, 1)
        transformer.close()


def _tiny(config: ModelConfig) -> ModelConfig:
    """The same kinds of everything at the smallest sizes."""
    return replace(
        config,
        dim=_DIM,
        hidden_dim=_DIM,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=_DIM // 2,
        vocab_size=_DIM,
        seq_len=4,
        n_experts=2 if config.is_moe else 0,
        n_active_experts=1 if config.is_moe else 0,
        moe_hidden_dim=_DIM if config.is_moe else 0,
    )


def _zero_weights(plan: ShardPlan) -> RankWeights:
    weights = RankWeights(plan, 0)
    for spec in tensor_specs(plan.config):
        if spec.name != "embedding":
            raw = np.zeros(slice_nbytes(plan, spec, 0), np.uint8)
            weights.add(spec, raw.reshape(spec.shape[0], -1))
    return weights


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A lock beside numba's cache; none where the cache has no folder of its own."""
    folder = config_folder()
    try:
        os.makedirs(folder, exist_ok=True)
        lock = open(os.path.join(folder, "warm-up.lock"), "w")
    except OSError:  # a read-only cache: everyone compiles or loads alone
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
