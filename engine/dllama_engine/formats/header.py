"""The header of a `.m` file: magic, header size and i32 key/value pairs <-> ModelConfig."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from dllama_engine.errors import ModelFileError
from dllama_engine.formats.config import I32_MAX, Arch, HiddenAct, ModelConfig, RopeType
from dllama_engine.formats.quants import FloatType

MAGIC = 0x0A00ABCD
OLD_MAGICS = {0xABCD00: "Llama", 0xABCD01: "Grok-1"}
MAX_HEADER_BYTES = 64 * 1024

KEYS = {
    0: "version",
    1: "arch",
    2: "dim",
    3: "hidden_dim",
    4: "n_layers",
    5: "n_heads",
    6: "n_kv_heads",
    7: "n_experts",
    8: "n_active_experts",
    9: "vocab_size",
    10: "seq_len",
    11: "hidden_act",
    12: "rope_theta",
    13: "weight_type",
    14: "rope_scaling_factor",
    15: "rope_scaling_low_freq_factor",
    16: "rope_scaling_high_freq_factor",
    17: "rope_scaling_orig_max_seq_len",
    18: "rope_type",
    19: "head_dim",
    20: "norm_epsilon",
    21: "moe_hidden_dim",
}
REQUIRED = (
    "arch",
    "dim",
    "hidden_dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "vocab_size",
    "seq_len",
)
EPSILONS = {5: 1e-5, 6: 1e-6}
_FLOATS = (
    "rope_theta",
    "rope_scaling_factor",
    "rope_scaling_low_freq_factor",
    "rope_scaling_high_freq_factor",
)
_ENUM_KEYS = {
    "arch": Arch,
    "hidden_act": HiddenAct,
    "weight_type": FloatType,
    "rope_type": RopeType,
}


def encode_header(config: ModelConfig) -> bytes:
    """Magic, header size and key/value pairs; `ModelFileError` if a value does not fit i32."""
    pairs = [(key, _to_i32(KEYS[key], value)) for key, value in _header_values(config)]
    body = b"".join(struct.pack("<ii", *pair) for pair in pairs)
    return struct.pack("<II", MAGIC, 8 + len(body)) + body


def _header_values(config: ModelConfig) -> Iterator[tuple[int, float]]:
    optional = {
        **dict.fromkeys((14, 15, 16, 17), _has_scaling(config)),
        18: not config.has_qk_norm,
        19: config.has_qk_norm or config.head_dim * config.n_heads != config.dim,
        20: config.has_qk_norm or config.norm_epsilon != 1e-5,
        21: config.is_moe,
    }
    for key, name in KEYS.items():
        if not optional.get(key, True):
            continue
        value = getattr(config, name)
        yield key, _epsilon_key(value) if name == "norm_epsilon" else value


def _has_scaling(config: ModelConfig) -> bool:
    factors = (
        config.rope_scaling_factor,
        config.rope_scaling_low_freq_factor,
        config.rope_scaling_high_freq_factor,
    )
    return config.rope_scaling_orig_max_seq_len != 0 or any(factor != 1 for factor in factors)


def _epsilon_key(epsilon: float) -> int:
    for key, value in EPSILONS.items():
        if value == epsilon:
            return key
    raise ModelFileError(f"norm_epsilon {epsilon:g} has no key in the file; one of 1e-5, 1e-6")


def _to_i32(name: str, value: float) -> int:
    if value != int(value) or abs(value) > I32_MAX:
        raise ModelFileError(f"{name} is {value}; the file holds whole numbers up to {I32_MAX}")
    return int(value)


def read_header(head: bytes, read: Callable[[int], bytes], size: int) -> tuple[ModelConfig, int]:
    """The config and the header's size in bytes, from the first 8 bytes and the rest.

    Raises:
        ModelFileError: an old or unknown format, a size that cannot be, or values of no model.
    """
    if len(head) < 8:
        raise ModelFileError(f"{size} bytes, too short for a header (at least 8)")
    magic, header_bytes = struct.unpack("<Ii", head)
    _check_magic(magic)
    if header_bytes < 8 or (header_bytes - 8) % 8:
        raise ModelFileError(f"header size at offset 4 is {header_bytes}, expected 8 + 8 a pair")
    if header_bytes > min(size, MAX_HEADER_BYTES):
        raise ModelFileError(
            f"header size at offset 4 is {header_bytes}, but the file has {size} bytes "
            f"and a header at most {MAX_HEADER_BYTES}"
        )
    body = read(header_bytes - 8)
    if len(body) != header_bytes - 8:
        raise ModelFileError(f"header ends after {8 + len(body)} of {header_bytes} bytes")
    return _config_from_pairs(struct.unpack(f"<{len(body) // 4}i", body)), header_bytes


def _check_magic(magic: int) -> None:
    if magic in OLD_MAGICS:
        raise ModelFileError(
            f"old format {magic:#x} ({OLD_MAGICS[magic]}, before key/value headers); "
            "convert the model again with a current converter"
        )
    if magic != MAGIC:
        raise ModelFileError(f"magic at offset 0 is {magic:#x}, expected {MAGIC:#x}: no .m file")


def _config_from_pairs(numbers: tuple[int, ...]) -> ModelConfig:
    """Header numbers (key, value, key, value ...) with dllama's defaults for absent keys."""
    values: dict[str, Any] = {}
    for place, (key, value) in enumerate(zip(numbers[::2], numbers[1::2], strict=True)):
        if key not in KEYS:
            raise ModelFileError(
                f"unknown header key {key} at offset {8 + 8 * place}; known are 0 to {max(KEYS)}"
            )
        values[KEYS[key]] = _typed(KEYS[key], value)
    if "weight_type" not in values:
        raise ModelFileError("no weight float type (header key 13); convert the model again")
    for name in REQUIRED:
        if name not in values:
            raise ModelFileError(f"no {name} in the header")
    return ModelConfig(**_with_defaults(values))


def _typed(name: str, value: int) -> Any:
    if name == "norm_epsilon":
        if value not in EPSILONS:
            raise ModelFileError(f"unknown norm epsilon key {value}; 5 (1e-5) or 6 (1e-6)")
        return EPSILONS[value]
    if name not in _ENUM_KEYS:
        return float(value) if name in _FLOATS else value
    try:
        return _ENUM_KEYS[name](value)
    except ValueError:
        known = ", ".join(f"{kind.value:#x} {kind.name}" for kind in _ENUM_KEYS[name])
        raise ModelFileError(f"unknown {name} {value:#x}; one of {known}") from None


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    if values["arch"] in (Arch.QWEN3, Arch.QWEN3_MOE):
        values["rope_type"] = RopeType.FALCON
    if "head_dim" not in values:
        dim, n_heads = values["dim"], values["n_heads"]
        if n_heads <= 0 or dim % n_heads:
            raise ModelFileError(
                f"no head_dim in the header and dim {dim} does not divide by n_heads {n_heads}"
            )
        values["head_dim"] = dim // n_heads
    return values
