"""Export: every tensor lands where the engine reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType, decode_tensor, dequantize_q40, quantize_q40
from dllama_engine.text.tokenizer import read_tokenizer
from training.bpe import Bpe, single_bytes
from training.corpus import BOS, EOS
from training.export import export_model, export_tokenizer, weight_name
from training.shape import ModelShape

SHAPE = ModelShape(dim=64, hidden_dim=96, n_layers=2, n_heads=2, n_kv_heads=1, vocab_size=64)


def random_weights(shape: ModelShape) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    dim, kv_dim, hidden_dim = shape.dim, shape.kv_dim, shape.hidden_dim
    parts = {
        "q": (dim, dim), "k": (kv_dim, dim), "v": (kv_dim, dim), "wo": (dim, dim),
        "w1": (hidden_dim, dim), "w2": (dim, hidden_dim), "w3": (hidden_dim, dim),
        "attention_norm": (dim,), "ffn_norm": (dim,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (shape.vocab_size, dim),
        "final_norm.weight": (dim,),
        "classifier.weight": (shape.vocab_size, dim),
    }
    for layer in range(shape.n_layers):
        shapes |= {f"blocks.{layer}.{part}.weight": size for part, size in parts.items()}
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in shapes.items()}


def test_f32_tensors_come_back_exactly(tmp_path: Path) -> None:
    weights = random_weights(SHAPE)
    export_model(tmp_path / "x.m", weights, SHAPE, FloatType.F32)
    with ModelFile.open(tmp_path / "x.m") as file:
        seen = set()
        for spec in file.specs:
            values = decode_tensor(np.array(file.raw(spec)), spec.float_type)
            np.testing.assert_array_equal(values.reshape(-1), weights[weight_name(spec)].ravel())
            seen.add(weight_name(spec))
    assert seen == set(weights)


def test_q40_matrices_are_the_engines_rounding(tmp_path: Path) -> None:
    weights = random_weights(SHAPE)
    export_model(tmp_path / "x.m", weights, SHAPE, FloatType.Q40)
    with ModelFile.open(tmp_path / "x.m") as file:
        spec = next(s for s in file.specs if s.name == "block_matmul_w2" and s.layer == 1)
        assert spec.float_type is FloatType.Q40
        expected = dequantize_q40(quantize_q40(weights["blocks.1.w2.weight"]))
        np.testing.assert_array_equal(dequantize_q40(np.array(file.raw(spec))), expected)
        assert file.specs[0].float_type is FloatType.F32


def test_header_says_what_the_shape_says(tmp_path: Path) -> None:
    export_model(tmp_path / "x.m", random_weights(SHAPE), SHAPE, FloatType.Q40)
    with ModelFile.open(tmp_path / "x.m") as file:
        config = file.config
    assert (config.dim, config.hidden_dim, config.n_layers) == (64, 96, 2)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (2, 1, 32)
    assert (config.seq_len, config.rope_theta, config.norm_epsilon) == (512, 10000.0, 1e-5)


def test_tokenizer_file_has_the_special_tokens(tmp_path: Path) -> None:
    fillers = tuple(bytes([97 + i // 26, 97 + i % 26, 33]) for i in range(BOS - 256))
    export_tokenizer(tmp_path / "x.t", Bpe((*single_bytes(), *fillers)))
    vocab = read_tokenizer(tmp_path / "x.t").vocab
    assert vocab.tokens[BOS:] == (b"<s>", b"</s>")
    assert (vocab.bos_id, vocab.eos_ids, vocab.add_bos) == (BOS, (EOS,), True)
