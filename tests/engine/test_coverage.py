"""Architecture x weights x buffers x node counts: the table of docs/models.md.

The golden files hold Q40/Q80 and f32/f32 only. Here every architecture's golden weights are stored
again in every weight type. With f32 buffers a model must then agree with its own dequantized
weights run as f32 on one node. With Q80 buffers it may differ from that by what the cast of the
activations causes; and in the invariant mode it must not depend on the node count at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.formats.model_file import ModelFile, write_model
from dllama_engine.formats.quants import FloatType, decode_tensor
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.sharding.plan import SyncMode
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import ModelRun

IDS = [508, 72, 101, 280, 111, 279, 44, 285]
SOURCES = {
    "llama": "llama_f32",  # 8 query heads on 4 K/V heads
    "llama31": "llama31_f32",
    "qwen3": "qwen3_f32",
    "qwen3moe": "qwen3moe_q40",
}
NODES = (1, 2, 3, 4, 5, 8)
# The golden models' logits have a scale of 5; dllama's own move by 0.17 with the node count.
Q80_BUFFER_BOUND = 0.2

Logits = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def stored_as(source: str, weight_type: FloatType, folder: Path) -> Path:
    """The golden model `source` with matrices in another type."""
    path = folder / f"{source}-{weight_type.label}.m"
    if path.exists():
        return path
    with ModelFile.open(GOLDEN / f"{SOURCES[source]}.m") as golden:
        by_key = {(s.name, s.layer, s.expert): s for s in golden.specs}

        def tensor(spec: TensorSpec) -> npt.NDArray[np.float32]:
            original = by_key[spec.name, spec.layer, spec.expert]
            return decode_tensor(golden.raw(original), original.float_type)

        write_model(path, replace(golden.config, weight_type=weight_type), tensor)
    return path


def dequantized(path: Path) -> Path:
    """The same model with the same numbers, as f32."""
    plain = path.with_suffix(".f32.m")
    if not plain.exists():
        with ModelFile.open(path) as model:
            config = replace(model.config, weight_type=FloatType.F32)
            by_key = {(s.name, s.layer, s.expert): s for s in model.specs}

            def tensor(spec: TensorSpec) -> npt.NDArray[np.float32]:
                original = by_key[spec.name, spec.layer, spec.expert]
                return decode_tensor(model.raw(original), original.float_type)

            write_model(plain, config, tensor)
    return plain


@cache
def reference(path: Path) -> Logits:
    return ModelRun(dequantized(path), 1, FloatType.F32).logits(IDS)


CASES = [(source, weight_type) for source in SOURCES for weight_type in FloatType]


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize(("source", "weight_type"), CASES)
def test_f32_buffers_agree_with_the_dequantized_model(
    source: str, weight_type: FloatType, nodes: int, folder: Path
) -> None:
    path = stored_as(source, weight_type, folder)
    expected = reference(path)
    got = ModelRun(path, nodes, FloatType.F32).logits(IDS)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(got - expected) / scale).max() < 1e-4


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize(("source", "weight_type"), CASES)
def test_q80_buffers_differ_by_the_cast_only(
    source: str, weight_type: FloatType, nodes: int, folder: Path
) -> None:
    path = stored_as(source, weight_type, folder)
    difference = np.abs(ModelRun(path, nodes, FloatType.Q80).logits(IDS) - reference(path))
    # A gate that is a near tie may send a token to another expert: a jump that later positions
    # then see through the KV cache. So a MoE model's bound holds up to the first jump.
    checked = difference[:1] if source == "qwen3moe" else difference
    assert 0 < checked.max() < Q80_BUFFER_BOUND
    assert np.median(difference) < Q80_BUFFER_BOUND / 2


@pytest.mark.parametrize("buffer_type", [FloatType.Q80, FloatType.F32])
@pytest.mark.parametrize(("source", "weight_type"), CASES)
def test_invariant_mode_gives_the_same_bits_on_any_node_count(
    source: str, weight_type: FloatType, buffer_type: FloatType, folder: Path
) -> None:
    path = stored_as(source, weight_type, folder)
    alone = ModelRun(path, 1, buffer_type, SyncMode.INVARIANT).logits(IDS)
    for nodes in NODES[1:]:
        again = ModelRun(path, nodes, buffer_type, SyncMode.INVARIANT).logits(IDS)
        assert np.array_equal(again, alone), f"{nodes} nodes"
