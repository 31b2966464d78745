"""Compile with numba, or load from its cache, all kernels that a plan will call.

The road of a rank that has no image of machine code (`warmup`).

A tiny model of the same kind runs once. What is not in the cache yet is compiled by a process of
its own, since a compiler's memory would stay with the rank for its whole life. Ranks that start
together on one host take turns, so that one has it compiled and the others find its result.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np

from dllama_engine.errors import EngineError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.model_file import tensor_specs
from dllama_engine.formats.quants import FloatType
from dllama_engine.kernels.cache import folder as config_folder
from dllama_engine.kernels.compiler.gc_threshold import raise_gc_threshold
from dllama_engine.kernels.cpu import cpu_digest, variant
from dllama_engine.kernels.sources import installed_digest
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan, make_plan
from dllama_engine.sharding.slices import slice_nbytes, tensor_spans
from dllama_engine.system.locks import locked_if_possible
from dllama_engine.system.os_reason import reason_of
from dllama_engine.system.process import exit_with_parent
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.frames import SYNC_WITH_ROOT
from dllama_engine.wire.links import Links

_DIM = 64


def compile_for(
    plan: ShardPlan, kv_type: FloatType, tell: Callable[[str], None] = lambda line: None
) -> None:
    """Make every kernel of `plan` ready to call, without an image."""
    tiny = make_plan(_tiny(plan.config), 1, buffer_type=plan.buffer_type, sync_mode=plan.sync_mode)
    cache = cache_folder()
    mark = cache / f"ready-{_kind(tiny, kv_type)}"
    if mark.exists():
        _run(tiny, kv_type)
        return
    tell("⏳ Compiling the kernels for this CPU; only the first time, a minute on a small board")
    with locked_if_possible(cache / "warm-up.lock") as may_write:  # if not, all compile alone
        if may_write and not mark.exists() and _compile_elsewhere(tiny, kv_type):
            with contextlib.suppress(OSError):  # a full disk: told when something is to be kept
                mark.touch()
        _run(tiny, kv_type)


def cache_folder() -> Path:
    """Where numba keeps kernels of these sources; `kernels.llvm` tells it, which is imported late.

    Without that import numba knows no folder, so that there was no lock, and no mark to find.
    """
    importlib.import_module("dllama_engine.kernels.llvm")
    return Path(config_folder())


def _kind(tiny: ShardPlan, kv_type: FloatType) -> str:
    """What the set of kernels depends on, beside their sources' text, which names the folder."""
    config = tiny.config
    kinds = (config.weight_type, tiny.buffer_type, kv_type)
    names = (config.arch.name, config.rope_type.name, config.hidden_act.name)
    versions = (f"numba-{numba.__version__}", str(sys.implementation.cache_tag))
    digests = cpu_digest(), installed_digest()
    words = (*(kind.label for kind in kinds), *names, str(tiny.sync_mode), variant(), *digests)
    return "-".join((*words, *versions)).lower()


def _compile_elsewhere(tiny: ShardPlan, kv_type: FloatType) -> bool:
    """Fill the cache from another process, which ends with this one; whether it came to its end.

    Whatever goes wrong there will go wrong here again, where it can be told; unless it was killed,
    and then this process does what is left.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "dllama_engine.cluster.setup.compile_here"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as compiler:
        try:
            assert compiler.stdin is not None  # asked for above; stays open as a sign of life
            asked = {"plan": tiny.to_json(), "kv_type": int(kv_type)}
            compiler.stdin.write(json.dumps(asked) + "\n")
            compiler.stdin.flush()
            return compiler.wait() == 0
        except BaseException:
            compiler.kill()
            raise


def _run(tiny: ShardPlan, kv_type: FloatType) -> None:
    """One small batch and one token, with the kernels from the cache or freshly compiled.

    Raises:
        EngineError: what was compiled cannot be written.
    """
    try:
        _forward(tiny, kv_type)
    except OSError as error:
        raise EngineError(
            f"compiled kernels cannot be kept in {config_folder()} ({reason_of(error)}); "
            "make room there, or set XDG_CACHE_HOME to another folder"
        ) from None


def _forward(tiny: ShardPlan, kv_type: FloatType) -> None:
    """One of two ranks is only put together, which is enough to have its operations compiled."""
    _transformer(tiny, 2, kv_type).close()
    alone = _transformer(tiny, 1, kv_type)
    for pos, tokens in ((0, 2), (2, 1)):
        alone.forward(np.zeros((tokens, _DIM), np.float32), pos, 1)
    alone.close()
    Links(0, 1, {}).exchange(SYNC_WITH_ROOT, {}, {})


def _transformer(tiny: ShardPlan, world_size: int, kv_type: FloatType) -> Transformer:
    plan = make_plan(
        tiny.config,
        world_size,
        buffer_type=tiny.buffer_type,
        sync_mode=tiny.sync_mode,
        collective=Collective.TWO_SHOT,  # which needs all operations of any
    )
    return Transformer(
        plan, 0, _zero_weights(plan), None, max_seq_len=4, batch_size=2, kv_type=kv_type
    )


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
        spans = tensor_spans(plan, spec, 0)
        if spans is not None and spec.name != "embedding":
            raw = np.zeros(slice_nbytes(plan, spec, 0), np.uint8)
            weights.add(spec, raw.reshape(spans[0].size, -1))
    return weights


def _main() -> None:
    asked = json.loads(sys.stdin.readline())
    exit_with_parent(None)  # its end closes our standard input
    raise_gc_threshold()
    tiny, kv_type = ShardPlan.from_json(asked["plan"]), FloatType(asked["kv_type"])
    _run(tiny, kv_type)


if __name__ == "__main__":
    _main()
