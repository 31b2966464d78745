"""From trained weights to dllama's two files, through the engine's own writers.

Knows nothing about PyTorch: weights come as numpy arrays under the names of `training.llama`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dllama_engine.formats.config import Arch, ModelConfig
from dllama_engine.formats.model_file import write_model
from dllama_engine.formats.quants import FloatType, quantize_q40
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.formats.vocab import Vocab, write_tokenizer
from training.bpe import Bpe
from training.corpus import BOS, EOS
from training.shape import ModelShape

Weights = Mapping[str, npt.NDArray[np.float32]]

OUTSIDE = {
    "embedding": "embedding",
    "final_norm": "final_norm.weight",
    "final_matmul_logits": "classifier.weight",
}
IN_LAYER = {"block_norm_0": "attention_norm", "block_norm_1": "ffn_norm"}


def model_config(shape: ModelShape, weight_type: FloatType) -> ModelConfig:
    """The header of the exported model."""
    return ModelConfig(
        arch=Arch.LLAMA,
        dim=shape.dim,
        hidden_dim=shape.hidden_dim,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        seq_len=shape.seq_len,
        weight_type=weight_type,
        rope_theta=float(shape.rope_theta),
        norm_epsilon=shape.norm_epsilon,
    )


def export_model(path: Path, weights: Weights, shape: ModelShape, weight_type: FloatType) -> None:
    """Write a `.m` file with the matrices in `weight_type` (Q40 or f32); the rest is f32."""

    def tensor(spec: TensorSpec) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
        values = np.ascontiguousarray(weights[weight_name(spec)], dtype=np.float32)
        values = values.reshape(spec.shape)
        return quantize_q40(values) if spec.float_type == FloatType.Q40 else values

    write_model(path, model_config(shape, weight_type), tensor)


def weight_name(spec: TensorSpec) -> str:
    """The name in `training.llama` of a tensor of the file.

    A file calls layer 3's query matrix `block_matmul_q`; the model calls it `blocks.3.q.weight`.
    """
    if spec.name in OUTSIDE:
        return OUTSIDE[spec.name]
    part = IN_LAYER.get(spec.name, spec.name.removeprefix("block_matmul_"))
    return f"blocks.{spec.layer}.{part}.weight"


def export_tokenizer(path: Path, vocabulary: Bpe) -> None:
    """Write a `.t` file: the regular vocabulary, then bos `<s>` and eos `</s>`."""
    tokens = (*vocabulary.tokens, b"<s>", b"</s>")
    vocab = Vocab(
        tokens=tokens,
        scores=(*vocabulary.scores(), 0.0, 0.0),
        bos_id=BOS,
        eos_ids=(EOS,),
        add_bos=True,
        chat_template=None,
        max_token_length=max(map(len, tokens)),
    )
    write_tokenizer(path, vocab)
