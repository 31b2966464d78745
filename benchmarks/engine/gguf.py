"""Writes a synthetic `.m` model as GGUF for llama.cpp: same shape, same blocks (Q4_0 is Q40).

Enough for timing; there is no vocabulary, and rope's order of rows is not changed.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.system.atomic_file import atomic_writer

_ALIGN = 32
_U32, _F32, _STRING = 4, 6, 8  # kinds of metadata
_TYPES = {FloatType.F32: 0, FloatType.F16: 1, FloatType.Q40: 2, FloatType.Q80: 8}
_NAMES = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "final_matmul_logits": "output",
    "block_matmul_q": "attn_q",
    "block_matmul_k": "attn_k",
    "block_matmul_v": "attn_v",
    "block_matmul_wo": "attn_output",
    "block_matmul_w1": "ffn_gate",
    "block_matmul_w2": "ffn_down",
    "block_matmul_w3": "ffn_up",
    "block_norm_0": "attn_norm",
    "block_norm_1": "ffn_norm",
}


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _name(spec: TensorSpec) -> str:
    name = _NAMES[spec.name] + ".weight"
    return name if spec.layer < 0 else f"blk.{spec.layer}.{name}"


def _metadata(model: ModelFile) -> list[bytes]:
    config = model.config
    numbers = {
        "context_length": config.seq_len,
        "embedding_length": config.dim,
        "block_count": config.n_layers,
        "feed_forward_length": config.hidden_dim,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    fields = [
        _string(key) + struct.pack("<I", _STRING) + _string(value)
        for key, value in (
            ("general.architecture", "llama"),
            ("general.name", "synthetic"),
            ("tokenizer.ggml.model", "no_vocab"),
        )
    ]
    fields += [
        _string(f"llama.{key}") + struct.pack("<II", _U32, value) for key, value in numbers.items()
    ]
    epsilon = _string("llama.attention.layer_norm_rms_epsilon")
    return [*fields, epsilon + struct.pack("<If", _F32, config.norm_epsilon)]


def write_gguf(model_path: Path, gguf_path: Path) -> None:
    """Write `model_path` as GGUF, version 3."""
    with ModelFile.open(model_path) as model, atomic_writer(gguf_path) as file:
        _write(model, file)


def _write(model: ModelFile, file: BinaryIO) -> None:
    metadata = _metadata(model)
    written = file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(model.specs), len(metadata)))
    written += file.write(b"".join(metadata))
    offset = 0
    for spec in model.specs:
        rows, cols = spec.shape
        dims = (cols, rows) if rows > 1 else (cols,)
        written += file.write(
            _string(_name(spec))
            + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            + struct.pack("<IQ", _TYPES[spec.float_type], offset)
        )
        offset += -(-spec.nbytes // _ALIGN) * _ALIGN
    file.write(bytes(-written % _ALIGN))
    for spec in model.specs:
        file.write(model.raw(spec).data)
        file.write(bytes(-spec.nbytes % _ALIGN))
