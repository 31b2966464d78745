"""The `.m` file: a checked and mapped reader, and a writer.

Nothing is allocated before the sizes in the header agree with the file's real size to the byte.
Knows nothing about nodes or kernels. Format: the header of `dllama_engine.formats.header`, then the
tensors of `dllama_engine.formats.tensors` without names or padding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np

from dllama_engine.errors import EngineError, ModelFileError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.header import encode_header, read_header
from dllama_engine.formats.quants import ByteArray, encode_tensor, nonfinite_values, row_bytes
from dllama_engine.formats.tensors import TensorSpec, specs_at, tensor_bytes
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.system.regular_file import open_regular

CHECK_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file this is on its machine, and which state of it: two processes may compare."""

    path: str  # absolute
    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> FileIdentity:
        """Of an open file or of a path."""
        return cls(
            str(path.absolute()),
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
        )


class ModelFile:
    """An opened, checked and mapped `.m` file; tensors are views into the mapping."""

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        specs: tuple[TensorSpec, ...],
        data: ByteArray,
        identity: FileIdentity,
        descriptor: int,
    ) -> None:
        self.path = path
        self.identity = identity
        self.config = config
        self.specs = specs
        self._data: ByteArray | None = data
        self._descriptor = descriptor
        self._close = finalize(self, os.close, descriptor)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ModelFile:
        """Check header and size, map the file, check its norms; else `ModelFileError`."""
        path = Path(path)
        try:
            with open_regular(path) as file:
                identity = FileIdentity.of(path, os.fstat(file.fileno()))
                size = identity.size
                config, header_bytes = read_header(file.read(8), file.read, size)
                _check_size(config, header_bytes, size)
                data = np.memmap(file, dtype=np.uint8, mode="r")
                descriptor = os.dup(file.fileno())
        except OSError as error:
            raise ModelFileError(f"{path}: {error.strerror or error}") from None
        except EngineError as error:
            raise ModelFileError(f"{path}: {error}") from None
        specs = tuple(specs_at(config, header_bytes))
        model = cls(path, config, specs, data, identity, descriptor)
        model._check_norms()
        return model

    def raw(self, spec: TensorSpec) -> ByteArray:
        """The tensor's bytes, (rows, row_bytes), a view into the mapped file.

        The spec may come from `tensor_specs`: its index counts, as headers differ in length.

        Raises:
            ModelFileError: the file is closed.
        """
        if self._data is None:
            raise ModelFileError(f"{self.path}: the file is closed")
        own = self.specs[spec.index]
        assert (own.label, own.shape) == (spec.label, spec.shape)
        part = self._data[own.offset : own.offset + own.nbytes]
        return np.asarray(part).reshape(own.shape[0], -1)

    def descriptor(self) -> int:
        """A descriptor of the file of the caller's own, to read from after this is closed.

        Raises:
            ModelFileError: the file is closed.
        """
        if self._data is None:
            raise ModelFileError(f"{self.path}: the file is closed")
        return os.dup(self._descriptor)

    def check_finite(self, spec: TensorSpec, raw: ByteArray | None = None) -> None:
        """Refuse a tensor, or a slice of it, that holds NaN or infinity; names file and tensor."""
        try:
            check_finite(spec, self.raw(spec) if raw is None else raw)
        except ModelFileError as error:
            raise ModelFileError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Let go of the mapping; it is unmapped when the last view of it is."""
        self._data = None
        self._close()

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
    return tuple(specs_at(config, len(encode_header(config))))


def model_bytes(config: ModelConfig) -> int:
    """Size of the whole file, in closed form: no table is built for it."""
    return len(encode_header(config)) + tensor_bytes(config)


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


def _check_size(config: ModelConfig, header_bytes: int, size: int) -> None:
    expected = header_bytes + tensor_bytes(config)
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
