"""Whole models with GELU, which no golden file has, against a plain forward pass in float64.

The plain forward pass is itself held to what the real dllama computed for the same model with SiLU.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.formats.config import HiddenAct, RopeType
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType, decode_tensor
from dllama_engine.sharding.plan import SyncMode
from dllama_engine.transformer.rope import rope_tables
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import ModelRun, with_activation

Doubles = npt.NDArray[np.float64]
IDS: list[int] = json.loads((GOLDEN / "expected.json").read_text())["runs"]["llama_f32/n1"][
    "input_ids"
]
BOUND = 3e-5  # found 1e-5: attention's fast exponential, which the plain one does not have


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def gelu_model(name: str, folder: Path) -> Path:
    path = folder / f"{name}.m"
    return path if path.exists() else with_activation(GOLDEN / path.name, HiddenAct.GELU, path)


class PlainLlama:
    """All tokens at once, dense matrices, neighbours rotated; float64."""

    def __init__(self, model: ModelFile) -> None:
        assert model.config.rope_type is RopeType.LLAMA
        self.config = model.config
        self.tensors = {
            (spec.name, spec.layer): decode_tensor(model.raw(spec), spec.float_type)
            .astype(np.float64)
            .reshape(spec.shape)
            for spec in model.specs
        }

    def logits(self, ids: list[int]) -> Doubles:
        """Float64 (len(ids), vocab)."""
        x = self.tensors["embedding", -1][ids]
        for layer in range(self.config.n_layers):
            y = self.normed(x, "block_norm_0", layer)
            x = x + self.attention(y, layer) @ self.tensors["block_matmul_wo", layer].T
            y = self.normed(x, "block_norm_1", layer)
            gate, up = (y @ self.tensors[f"block_matmul_{w}", layer].T for w in ("w1", "w3"))
            x = x + self.activated(gate) * up @ self.tensors["block_matmul_w2", layer].T
        return self.normed(x, "final_norm", -1) @ self.tensors["final_matmul_logits", -1].T

    def normed(self, x: Doubles, name: str, layer: int) -> Doubles:
        root = np.sqrt((x**2).mean(axis=1, keepdims=True) + self.config.norm_epsilon)
        return np.asarray(x / root * self.tensors[name, layer].ravel())

    def activated(self, gate: Doubles) -> Doubles:
        if self.config.hidden_act is HiddenAct.SILU:
            return np.asarray(gate / (1 + np.exp(-gate)))
        return np.asarray(
            0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * gate * (1 + 0.044715 * gate**2)))
        )

    def attention(self, y: Doubles, layer: int) -> Doubles:
        config, tokens = self.config, len(y)
        q, k, v = (
            (y @ self.tensors[f"block_matmul_{name}", layer].T).reshape(tokens, heads, -1)
            for name, heads in (
                ("q", config.n_heads),
                ("k", config.n_kv_heads),
                ("v", config.n_kv_heads),
            )
        )
        group = config.n_heads // config.n_kv_heads
        keys, values = (np.repeat(part, group, axis=1) for part in (self.rotated(k), v))
        scores = np.einsum("thd,shd->hts", self.rotated(q), keys) / np.sqrt(config.head_dim)
        scores[:, ~np.tri(tokens, dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        return np.einsum("hts,shd->thd", weights, values).reshape(tokens, -1)

    def rotated(self, heads: Doubles) -> Doubles:
        cos, sin = (part[:, None] for part in rope_tables(self.config, len(heads)))
        a, b = heads[..., ::2], heads[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(heads.shape)


def error(got: npt.NDArray[np.float32], true: Doubles) -> float:
    """The largest, as a share of the largest logit of its token."""
    return float((np.abs(got - true) / np.abs(true).max(axis=1, keepdims=True)).max())


def test_the_plain_forward_pass_is_that_of_the_real_dllama() -> None:
    with ModelFile.open(GOLDEN / "llama_f32.m") as model:
        plain = PlainLlama(model).logits(IDS)
    with np.load(GOLDEN / "expected_logits.npz") as stored:
        theirs = stored["llama_f32_n1"]
    assert error(theirs, plain[: len(theirs)]) < BOUND


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_a_model_with_gelu_computes_what_the_plain_forward_pass_does(
    nodes: int, folder: Path
) -> None:
    path = gelu_model("llama_f32", folder)
    with ModelFile.open(path) as model:
        plain = PlainLlama(model).logits(IDS)
    got = ModelRun(path, nodes, FloatType.F32).logits(IDS)
    assert error(got, plain) < BOUND
    silu = ModelRun(GOLDEN / "llama_f32.m", nodes, FloatType.F32).logits(IDS)
    assert error(silu, plain) > 1e-2  # the activation is felt


def test_a_quantized_model_with_gelu_does_so_but_for_the_casts(folder: Path) -> None:
    path = gelu_model("llama_q40", folder)
    with ModelFile.open(path) as model:
        plain = PlainLlama(model).logits(IDS)
    assert error(ModelRun(path, 1, FloatType.F32).logits(IDS), plain) < BOUND
    alone = ModelRun(path, 1).logits(IDS)
    assert np.abs(alone - plain).max() < 0.2  # as of the golden models, test_coverage
    for nodes in (2, 3):
        run = ModelRun(path, nodes, sync_mode=SyncMode.INVARIANT)
        assert np.array_equal(run.logits(IDS), alone)
