"""The `.m` file: header <-> ModelConfig, the table of its tensors, a mapped reader and a writer.

Nothing is allocated before the sizes in the header agree with the file's real size to the byte.
Knows nothing about nodes or kernels. Format: magic, header size, i32 key/value pairs, then the
tensors without names or padding, in the order of `tensor_specs`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.atomic_file import atomic_writer
from engine.errors import EngineError, ModelFileError
from engine.model_config import (
    I32_MAX,
    Arch,
    HiddenAct,
    ModelConfig,
    RopeType,
)
from engine.quants import ByteArray, FloatType, encode_tensor, nonfinite_values, row_bytes

__all__ = [
    "Arch",
    "HiddenAct",
    "ModelConfig",
    "ModelFile",
    "RopeType",
    "TensorSpec",
    "check_finite",
    "encode_header",
    "model_bytes",
    "tensor_specs",
    "write_model",
]

MAGIC = 0x0A00ABCD
OLD_MAGICS = {0xABCD00: "Llama", 0xABCD01: "Grok-1"}
MAX_HEADER_BYTES = 64 * 1024
CHECK_CHUNK_BYTES = 8 << 20

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
REQUIRED = ("arch", "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size")
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


class ModelFile:
    """An opened, checked and mapped `.m` file; tensors are views into the mapping."""

    def __init__(
        self, path: Path, config: ModelConfig, specs: tuple[TensorSpec, ...], data: ByteArray
    ) -> None:
        self.path = path
        self.config = config
        self.specs = specs
        self._data: ByteArray | None = data

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Check header and size, map the file, check its norms; else `ModelFileError`."""
        path = Path(path)
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                config, header_bytes = _read_header(file.read(8), file.read, size)
                _check_size(config, header_bytes, size)
                data = np.memmap(file, dtype=np.uint8, mode="r")
        except OSError as error:
            raise ModelFileError(f"{path}: {error.strerror or error}") from None
        except EngineError as error:
            raise ModelFileError(f"{path}: {error}") from None
        specs = tuple(_specs(config, header_bytes))
        model = cls(path, config, specs, data)
        model._check_norms()
        return model

    def raw(self, spec: TensorSpec) -> ByteArray:
        """The tensor's bytes, (rows, row_bytes), a view into the mapped file.

        The spec may come from `tensor_specs`: its index counts, as headers differ in length.
        """
        if self._data is None:
            raise ModelFileError(f"{self.path}: the file is closed")
        own = self.specs[spec.index]
        assert (own.label, own.shape) == (spec.label, spec.shape)
        part = self._data[own.offset : own.offset + own.nbytes]
        return np.asarray(part).reshape(own.shape[0], -1)

    def check_finite(self, spec: TensorSpec, raw: ByteArray | None = None) -> None:
        """Refuse a tensor, or a slice of it, that holds NaN or infinity; names file and tensor."""
        try:
            check_finite(spec, self.raw(spec) if raw is None else raw)
        except ModelFileError as error:
            raise ModelFileError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Let go of the mapping; it is unmapped when the last view of it is."""
        self._data = None

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_norms(self) -> None:
        """The vectors are small enough to check at once; matrices are checked when loaded."""
        for spec in self.specs:
            if spec.shape[0] == 1 and "norm" in spec.name:
                self.check_finite(spec)


def tensor_specs(config: ModelConfig) -> tuple[TensorSpec, ...]:
    """Every tensor of a model in file order, with its place in a file written by `write_model`."""
    return tuple(_specs(config, len(encode_header(config))))


def model_bytes(config: ModelConfig) -> int:
    """Size of the whole file, in closed form: no table is built for it."""
    return len(encode_header(config)) + _tensor_bytes(config)


def check_finite(spec: TensorSpec, raw: ByteArray) -> None:
    """Refuse bytes (rows, row_bytes) of a tensor, or a slice of them, that hold NaN or infinity."""
    rows_a_chunk = max(1, CHECK_CHUNK_BYTES // max(1, raw.shape[-1]))
    for first in range(0, raw.shape[0], rows_a_chunk):
        bad = nonfinite_values(raw[first : first + rows_a_chunk], spec.float_type)
        if bad.any():
            row, at = (int(i) for i in np.argwhere(bad)[0])
            what = "block scale" if spec.float_type.is_quantized else "value"
            raise ModelFileError(
                f"tensor {spec.label}: {what} {at} of row {first + row} is not finite; "
                "the file is damaged or was converted wrongly, convert the model again"
            )


def write_model(
    path: str | os.PathLike[str],
    config: ModelConfig,
    tensor: Callable[[TensorSpec], np.ndarray[Any, Any]],
) -> None:
    """Write a model whole or not at all.

    `tensor` gives each spec's values, f32 (rows, cols), or its bytes, uint8 (rows, row_bytes).
    """
    with atomic_writer(Path(path)) as file:
        file.write(encode_header(config))
        for spec in tensor_specs(config):
            file.write(_encoded(spec, tensor(spec)).data)


def encode_header(config: ModelConfig) -> bytes:
    """Magic, header size and key/value pairs; `ModelFileError` if a value does not fit i32."""
    pairs = [(key, _to_i32(KEYS[key], value)) for key, value in _header_values(config)]
    body = b"".join(struct.pack("<ii", *pair) for pair in pairs)
    return struct.pack("<II", MAGIC, 8 + len(body)) + body


def _header_values(config: ModelConfig) -> Iterator[tuple[int, float]]:
    optional = {
        14: config.rope_scaling_factor != 1,
        15: config.rope_scaling_factor != 1,
        16: config.rope_scaling_factor != 1,
        17: config.rope_scaling_factor != 1,
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


def _epsilon_key(epsilon: float) -> int:
    for key, value in EPSILONS.items():
        if value == epsilon:
            return key
    raise ModelFileError(f"norm_epsilon {epsilon:g} has no key in the file; one of 1e-5, 1e-6")


def _to_i32(name: str, value: float) -> int:
    if value != int(value) or abs(value) > I32_MAX:
        raise ModelFileError(f"{name} is {value}; the file holds whole numbers up to {I32_MAX}")
    return int(value)


def _encoded(spec: TensorSpec, values: np.ndarray[Any, Any]) -> ByteArray:
    raw = values if values.dtype == np.uint8 else encode_tensor(values, spec.float_type)
    expected = (spec.shape[0], row_bytes(spec.float_type, spec.shape[1]))
    if raw.reshape(-1, raw.shape[-1]).shape != expected:
        raise ModelFileError(
            f"tensor {spec.label}: got {values.dtype} {values.shape}, "
            f"expected f32 {spec.shape} or uint8 {expected}"
        )
    raw = np.ascontiguousarray(raw).reshape(expected)
    check_finite(spec, raw)
    return raw


def _read_header(head: bytes, read: Callable[[int], bytes], size: int) -> tuple[ModelConfig, int]:
    """The config and the header's size in bytes, from the first 8 bytes and the rest."""
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
    for name in (*REQUIRED, "seq_len"):
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


def _check_size(config: ModelConfig, header_bytes: int, size: int) -> None:
    expected = header_bytes + _tensor_bytes(config)
    if size != expected:
        difference = (
            f"{expected - size} are missing, the file is truncated; copy it again"
            if size < expected
            else f"{size - expected} trailing bytes; the header is not of this file"
        )
        raise ModelFileError(
            f"{size} bytes, but the header asks for {expected} ({config.n_layers} layers, "
            f"dim {config.dim}, {config.weight_type.label}): {difference}"
        )


def _tensor_bytes(config: ModelConfig) -> int:
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


def _specs(config: ModelConfig, offset: int) -> Iterator[TensorSpec]:
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
