"""The hyper-parameters of a model: checked once, here, before anything is allocated for them.

Knows nothing about files; `dllama_engine.formats.model_file` maps these to a `.m` header and its
tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from dllama_engine.errors import ModelFileError
from dllama_engine.formats.quants import Q_BLOCK, FloatType

I32_MAX = 2**31 - 1
MAX_LAYERS = 4096
MAX_EXPERTS = 4096
MAX_LAYER_EXPERTS = 2**17  # n_layers * n_experts: a table of tensors stays below some 100 MB


class Arch(IntEnum):
    """Architecture; the number is the one in the file."""

    LLAMA = 0xABCD00
    QWEN3 = 0xABCD01
    QWEN3_MOE = 0xABCD02


class RopeType(IntEnum):
    """Rotary embedding: neighbours (Llama), halves (Falcon), neighbours with Llama-3.1 scaling."""

    LLAMA = 0
    FALCON = 1
    LLAMA3_1 = 2


class HiddenAct(IntEnum):
    """Activation of the feed-forward gate."""

    GELU = 0
    SILU = 1


_ENUMS: dict[str, type[IntEnum]] = {
    "arch": Arch,
    "weight_type": FloatType,
    "hidden_act": HiddenAct,
    "rope_type": RopeType,
}
_POSITIVE = ("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "seq_len")
_NOT_NEGATIVE = (
    "hidden_dim",
    "n_experts",
    "n_active_experts",
    "moe_hidden_dim",
    "rope_scaling_orig_max_seq_len",
)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape and numerics of one model; `ModelFileError` names the field that cannot be."""

    arch: Arch
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    seq_len: int
    weight_type: FloatType
    hidden_act: HiddenAct = HiddenAct.SILU
    rope_type: RopeType = RopeType.LLAMA
    rope_theta: float = 10000.0
    rope_scaling_factor: float = 1.0
    rope_scaling_low_freq_factor: float = 1.0
    rope_scaling_high_freq_factor: float = 1.0
    rope_scaling_orig_max_seq_len: int = 0
    norm_epsilon: float = 1e-5
    n_experts: int = 0
    n_active_experts: int = 0
    moe_hidden_dim: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        """Check every field on its own, then the ones that must agree."""
        _check_ranges(self)
        _check_attention(self)
        _check_experts(self)
        _check_columns(self)
        _check_rope(self)

    @property
    def q_dim(self) -> int:
        """Rows of the query projection."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Rows of the key and of the value projection."""
        return self.n_kv_heads * self.head_dim

    @property
    def ff_dim(self) -> int:
        """Width of the feed-forward block, or of one expert."""
        return self.moe_hidden_dim if self.is_moe else self.hidden_dim

    @property
    def is_moe(self) -> bool:
        """Whether a gate picks experts."""
        return self.arch is Arch.QWEN3_MOE

    @property
    def has_qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head."""
        return self.arch in (Arch.QWEN3, Arch.QWEN3_MOE)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names, for the wire and for event streams."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {name: plain[name].name.lower() for name in _ENUMS}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """The config that `to_json` gave; `ModelFileError` when a field is unknown or missing."""
        try:
            enums = {name: kind[str(data[name]).upper()] for name, kind in _ENUMS.items()}
            return cls(**{**data, **enums})
        except KeyError as missing:
            raise ModelFileError(f"model config lacks or does not know {missing}") from None
        except TypeError as wrong:
            raise ModelFileError(f"model config does not fit this version: {wrong}") from None


def _check_ranges(config: ModelConfig) -> None:
    for name in _POSITIVE:
        _check_integer(name, getattr(config, name), 1)
    for name in _NOT_NEGATIVE:
        _check_integer(name, getattr(config, name), 0)
    for name, limit in (("n_layers", MAX_LAYERS), ("n_experts", MAX_EXPERTS)):
        if getattr(config, name) > limit:
            raise ModelFileError(f"{name} is {getattr(config, name)}, the limit is {limit}")
    if config.n_layers * config.n_experts > MAX_LAYER_EXPERTS:
        raise ModelFileError(
            f"{config.n_layers} layers of {config.n_experts} experts are more than "
            f"{MAX_LAYER_EXPERTS} experts in all"
        )


def _check_integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelFileError(f"{name} is {value!r}, expected a whole number")
    if not least <= value <= I32_MAX:
        raise ModelFileError(f"{name} is {value}, expected {least} to {I32_MAX}")


def _check_attention(config: ModelConfig) -> None:
    if config.n_heads % config.n_kv_heads:
        raise ModelFileError(
            f"n_heads {config.n_heads} is not a multiple of n_kv_heads {config.n_kv_heads}"
        )
    if config.head_dim % 2:
        raise ModelFileError(f"head_dim {config.head_dim} is odd; rope rotates pairs")


def _check_experts(config: ModelConfig) -> None:
    if not config.is_moe:
        if config.hidden_dim == 0:
            raise ModelFileError("hidden_dim is 0, expected a positive number")
        if config.n_experts:
            raise ModelFileError(
                f"n_experts is {config.n_experts} but arch {config.arch.name} has none; "
                "only QWEN3_MOE has experts"
            )
        return
    if config.moe_hidden_dim == 0:
        raise ModelFileError("moe_hidden_dim is 0, expected a positive number for QWEN3_MOE")
    if not 1 <= config.n_active_experts <= config.n_experts:
        raise ModelFileError(
            f"n_active_experts is {config.n_active_experts}, expected 1 to n_experts "
            f"({config.n_experts})"
        )


def _check_columns(config: ModelConfig) -> None:
    """Rows of quantized matrices are whole blocks."""
    if not config.weight_type.is_quantized:
        return
    columns = {
        "dim": config.dim,
        "n_heads * head_dim": config.q_dim,
        "moe_hidden_dim" if config.is_moe else "hidden_dim": config.ff_dim,
    }
    for name, n in columns.items():
        if n % Q_BLOCK:
            raise ModelFileError(
                f"{name} {n} is not a multiple of the {config.weight_type.label} block size "
                f"{Q_BLOCK}; use f32 or f16 weights for this shape"
            )


def _check_rope(config: ModelConfig) -> None:
    for name in (
        "rope_theta",
        "rope_scaling_factor",
        "rope_scaling_low_freq_factor",
        "rope_scaling_high_freq_factor",
        "norm_epsilon",
    ):
        value = getattr(config, name)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise ModelFileError(f"{name} is {value}, expected a positive number")
    if config.has_qk_norm and config.rope_type is not RopeType.FALCON:
        raise ModelFileError(
            f"rope_type is {config.rope_type.name}; {config.arch.name} always uses FALCON"
        )
    if config.rope_type is RopeType.LLAMA3_1 and config.rope_scaling_factor != 1:
        _check_llama31_scaling(config)


def _check_llama31_scaling(config: ModelConfig) -> None:
    if config.rope_scaling_orig_max_seq_len == 0:
        raise ModelFileError("rope_scaling_orig_max_seq_len is 0, expected a positive number")
    low, high = config.rope_scaling_low_freq_factor, config.rope_scaling_high_freq_factor
    if low >= high:
        raise ModelFileError(
            f"rope_scaling_low_freq_factor {low:g} is not below rope_scaling_high_freq_factor "
            f"{high:g}"
        )
