"""Results that must be the same on every CPU, to the bit: small kernels, and the golden models.

`python -m tests.engine.reference_runs FILE` keeps those of this machine, as NUMBA_CPU_NAME,
NUMBA_CPU_FEATURES and DLLAMA_KERNELS make it. Inputs are made of whole numbers, since a random
generator's floats may depend on the C library.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.config import HiddenAct
from dllama_engine.formats.quants import FloatType
from dllama_engine.kernels.layers import activation, attention, norm, rope
from dllama_engine.kernels.llvm import casts
from dllama_engine.sharding.plan import SyncMode
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import ModelRun, with_activation

Result = tuple[str, npt.NDArray[Any]]
IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
LIMIT_S = 3600.0  # of a model on several ranks, an emulated compiler included
BATCHES = [6, 1, 2]

TWO_RANKS: dict[str, Any] = {"world_size": 2}
HALF_CACHE: dict[str, Any] = {"kv_type": FloatType.F16}
THREADS: dict[str, Any] = {"n_threads": 2}
INVARIANT: dict[str, Any] = {"sync_mode": SyncMode.INVARIANT}
F32_BUFFERS: dict[str, Any] = {"buffer_type": FloatType.F32}
# What runs: the golden model, and how. Llama rotates neighbours, Qwen3 halves.
MODELS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Llama", "llama_q40", {}),
    ("Llama, 2 threads", "llama_q40", THREADS),
    ("Llama, half-precision cache", "llama_q40", HALF_CACHE),
    ("Llama with GELU", "gelu", {}),
    ("Llama, 2 ranks", "llama_q40", TWO_RANKS),
    ("Llama with GELU, 2 ranks of 2 threads", "gelu", TWO_RANKS | THREADS),
    ("Qwen3, half-precision cache", "qwen3_q40", HALF_CACHE),
    ("Qwen3, half-precision cache, 2 ranks", "qwen3_q40", HALF_CACHE | TWO_RANKS),
    ("Qwen3, invariant, 2 ranks", "qwen3_q40", TWO_RANKS | INVARIANT),
    ("Llama 3.1 in f32, f32 buffers, 2 ranks", "llama31_f32", TWO_RANKS | F32_BUFFERS),
    ("Qwen3-MoE, 2 ranks", "qwen3moe_q40", TWO_RANKS),
)


def floats(n: int, low: int, high: int, seed: int = 1) -> npt.NDArray[np.float32]:
    """Float32 (n,) of either sign and any mantissa, exponents 2^low to 2^high in turn."""
    counted = np.arange(n, dtype=np.int64)
    mixed = (counted * 2654435761 + seed * 40503) % 2**32
    exponents = (127 + low + counted % (high - low)) << 23
    bits = exponents | (mixed & 0x7FFFFF) | (mixed >> 31 << 31)
    return bits.astype(np.uint32).view(np.float32)


def kernel_results() -> Iterator[Result]:
    """Kernels between the products, on floats of many sizes and on rests of vectors."""
    gate, up = floats(20_003, -126, 127), floats(20_003, -20, 0, seed=2)
    bent = floats(20_003, -12, 4, seed=3)
    for name, row in (("SiLU", activation.silu_row), ("GELU", activation.gelu_row)):
        for where, x in (("of every size", gate), ("where it bends", bent)):
            out = np.empty_like(x)
            row(x, up, out)
            yield f"{name} {where}", out
    cos, sin = (floats(5 * 12, -8, 0, seed).reshape(5, 12) for seed in (4, 5))
    ropes: dict[str, Any] = {
        "rope of neighbours": rope.rope_neighbours,
        "rope of halves": rope.rope_halves,
    }
    for name, rotate in ropes.items():
        x = floats(3 * 52, -9, 9).reshape(3, 52)  # two heads of 24, from column 2 on
        rotate(x, cos, sin, 1, 2, 2)
        yield name, x
    out = np.empty_like(bent)
    norm.norm_row(bent, up, np.float32(1e-5), out)
    yield "RMS norm", out
    yield from attention_results()
    yield from cast_results()


def attention_results() -> Iterator[Result]:
    """Two K/V heads over 70 positions: more than a tile, and rests in both directions.

    The last token alone and heads of 12, then five tokens together, with two heads of 24 each.
    """
    for name, kind, store, attend in (
        ("attention", np.float32, attention.store_f32, attention.attend_f32),
        ("half-precision attention", np.uint16, attention.store_f16, attention.attend_f16),
    ):
        for tokens, heads, head_dim in ((1, 1, 12), (5, 2, 24)):
            width = 2 * heads * head_dim  # of q
            n = width + 4 * head_dim
            qkv = floats(70 * n, -6, 2).reshape(70, n)
            keys, values = (np.zeros((2, 70, head_dim), kind) for _ in range(2))
            store(qkv, keys, values, 0, width, width + 2 * head_dim)
            what = f"{name}, {tokens} at once"
            yield f"cache of {what}", np.stack([keys, values])
            out = np.zeros((tokens, width), np.float32)
            for head in (0, 1):
                first = head * heads
                attend(qkv[-tokens:], keys[head], values[head], out, first, first + heads)
            yield what, out


def cast_results() -> Iterator[Result]:
    """Q80 and back, blocks of subnormal scales among them."""
    x = floats(32 * 150, -30, 15)
    values, scales = np.zeros(len(x), np.int8), np.zeros(150, np.float32)
    sums, out = np.zeros(150, np.int32), np.zeros_like(x)
    casts.cast_q80(x, values, scales, sums, out, 6, 0, len(x))
    yield from (("Q80 values", values), ("Q80 scales", scales), ("Q80 sums", sums), ("Q80", out))


def model_results() -> Iterator[Result]:
    """Logits float32 (tokens, vocab) of every line of MODELS."""
    with tempfile.TemporaryDirectory() as folder:
        gelu = Path(folder) / "gelu.m"
        with_activation(GOLDEN / "llama_q40.m", HiddenAct.GELU, gelu)
        for name, model, options in MODELS:
            path = gelu if model == "gelu" else GOLDEN / f"{model}.m"
            run = ModelRun(path, batches=BATCHES, limit_s=LIMIT_S, **options)
            yield name, run.logits(IDS)


def results() -> Iterator[Result]:
    """All of them, each under a name of its own."""
    yield from kernel_results()
    yield from model_results()


def same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """To the bit."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


if __name__ == "__main__":
    found: dict[str, Any] = dict(results())
    np.savez(sys.argv[1], **found)
