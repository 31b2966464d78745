"""The tensors of a model in file order: names, shapes, float types, places.

One table an architecture; rows are outputs. Knows nothing about headers and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.quants import FloatType, row_bytes


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the file; a vector is a matrix of one row. Layer or expert -1: not of one."""

    index: int
    name: str
    layer: int
    expert: int
    shape: tuple[int, int]  # (rows, cols)
    float_type: FloatType
    offset: int
    nbytes: int

    @property
    def label(self) -> str:
        """What an error message calls it: `block_matmul_w1, layer 3, expert 5`."""
        layer = f", layer {self.layer}" if self.layer >= 0 else ""
        expert = f", expert {self.expert}" if self.expert >= 0 else ""
        return f"{self.name}{layer}{expert}"


def tensor_bytes(config: ModelConfig) -> int:
    """Bytes of all tensors: one layer's and one expert's are counted and multiplied."""
    counted = sum(_nbytes(*tensor) for tensor in _global_tensors(config))
    experts = config.n_experts if config.is_moe else 1
    layer = sum(_nbytes(*tensor) for tensor in (*_attention(config), *_gate(config)))
    layer += experts * sum(_nbytes(*tensor) for tensor in _feed_forward(config))
    layer += sum(_nbytes(*tensor) for tensor in _norms(config))
    return counted + config.n_layers * layer


_Tensor = tuple[str, tuple[int, int], FloatType]


def _nbytes(name: str, shape: tuple[int, int], float_type: FloatType) -> int:
    return shape[0] * row_bytes(float_type, shape[1])


def specs_at(config: ModelConfig, offset: int) -> Iterator[TensorSpec]:
    """Every tensor in file order; the first one's bytes begin at `offset`."""
    for index, (layer, expert, (name, shape, float_type)) in enumerate(_in_order(config)):
        nbytes = _nbytes(name, shape, float_type)
        yield TensorSpec(index, name, layer, expert, shape, float_type, offset, nbytes)
        offset += nbytes


def _in_order(config: ModelConfig) -> Iterator[tuple[int, int, _Tensor]]:
    """(layer, expert, tensor) in file order; -1 where there is none."""
    embedding, final_norm, classifier = _global_tensors(config)
    yield -1, -1, embedding
    for layer in range(config.n_layers):
        for tensor in (*_attention(config), *_gate(config)):
            yield layer, -1, tensor
        for expert in range(config.n_experts) if config.is_moe else (-1,):
            for tensor in _feed_forward(config):
                yield layer, expert, tensor
        for tensor in _norms(config):
            yield layer, -1, tensor
    yield -1, -1, final_norm
    yield -1, -1, classifier


def _global_tensors(config: ModelConfig) -> tuple[_Tensor, _Tensor, _Tensor]:
    return (
        ("embedding", (config.vocab_size, config.dim), FloatType.F32),
        ("final_norm", (1, config.dim), FloatType.F32),
        ("final_matmul_logits", (config.vocab_size, config.dim), config.weight_type),
    )


def _attention(config: ModelConfig) -> tuple[_Tensor, ...]:
    return (
        ("block_matmul_q", (config.q_dim, config.dim), config.weight_type),
        ("block_matmul_k", (config.kv_dim, config.dim), config.weight_type),
        ("block_matmul_v", (config.kv_dim, config.dim), config.weight_type),
        ("block_matmul_wo", (config.dim, config.q_dim), config.weight_type),
    )


def _gate(config: ModelConfig) -> tuple[_Tensor, ...]:
    if not config.is_moe:
        return ()
    return (("block_moe_gate", (config.n_experts, config.dim), FloatType.F32),)


def _feed_forward(config: ModelConfig) -> tuple[_Tensor, ...]:
    return (
        ("block_matmul_w1", (config.ff_dim, config.dim), config.weight_type),
        ("block_matmul_w2", (config.dim, config.ff_dim), config.weight_type),
        ("block_matmul_w3", (config.ff_dim, config.dim), config.weight_type),
    )


def _norms(config: ModelConfig) -> tuple[_Tensor, ...]:
    qk = (
        ("block_norm_q", (1, config.head_dim), FloatType.F32),
        ("block_norm_k", (1, config.head_dim), FloatType.F32),
    )
    block: tuple[_Tensor, ...] = (
        ("block_norm_0", (1, config.dim), FloatType.F32),
        ("block_norm_1", (1, config.dim), FloatType.F32),
    )
    return (*qk, *block) if config.has_qk_norm else block
