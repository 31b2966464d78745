"""Models of any shape with random weights, written as fast as the disk takes them.

Weights are bytes from a pool of random blocks, read from another place for every tensor; no f32
copy of a quantized matrix is ever made. Scales keep activations near 1. Same shape and seed, same
bytes. Knows nothing about nodes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dllama_engine.errors import EngineError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.header import encode_header
from dllama_engine.formats.model_file import model_bytes, tensor_specs
from dllama_engine.formats.quants import Q_BLOCK, FloatType, row_bytes
from dllama_engine.formats.tensors import TensorSpec
from dllama_engine.formats.vocab import encode_vocab
from dllama_engine.synthetic.shapes import SHAPES, parse_shape
from dllama_engine.synthetic.vocab import synthetic_vocab
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.system.locks import locked

POOL_BYTES = 16 << 20
SPARE_DISK_BYTES = 64 << 20
NIBBLE_STD = 4.61  # of the whole numbers -8 to 7
BYTE_STD = 73.3  # of the whole numbers -127 to 127

Progress = Callable[[int, int], None]


class DiskSpaceError(EngineError):
    """The folder's disk has less free space than the model needs."""


def write_synthetic(
    shape: str,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write `shape` and its tokenizer into `folder` and return both paths.

    Files that are there already, with this header and size, are used as they are. `progress` gets
    (bytes done, bytes in all).
    """
    config = parse_shape(shape)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model_path = folder / f"{_slug(shape, seed)}.m"
    tokenizer_path = model_path.with_suffix(".t")
    vocab = encode_vocab(synthetic_vocab(config.vocab_size))
    with locked(folder):  # a second process waits and then finds the file whole
        if not _is_whole(model_path, config):
            _check_disk_space(shape, folder, model_bytes(config) + len(vocab))
            _write(model_path, config, seed, progress or (lambda done, total: None))
        if not tokenizer_path.exists() or tokenizer_path.read_bytes() != vocab:
            with atomic_writer(tokenizer_path) as file:
                file.write(vocab)
    return model_path, tokenizer_path


def _write(path: Path, config: ModelConfig, seed: int, progress: Progress) -> None:
    done, total = 0, model_bytes(config)
    pools = _Pools(seed, min(POOL_BYTES, total))
    with atomic_writer(path) as file:
        done += file.write(encode_header(config))
        for spec in tensor_specs(config):
            for part in pools.tensor(spec):
                done += file.write(part)
                progress(done, total)


class _Pools:
    """Random bytes for tensors; one pool a float type and scale."""

    def __init__(self, seed: int, pool_bytes: int) -> None:
        self._seed = seed
        self._pool_bytes = pool_bytes
        self._pools: dict[tuple[FloatType, float], memoryview] = {}

    def tensor(self, spec: TensorSpec) -> Iterator[memoryview]:
        """A tensor's bytes in parts: the pool from a place of the tensor's own, over and over."""
        rng = np.random.default_rng((self._seed, spec.index))
        if "norm" in spec.name:
            yield _norm(rng, spec.shape[1])
            return
        std = 1.0 if spec.name == "embedding" else spec.shape[1] ** -0.5
        pool, unit = self._pool(spec.float_type, std), _unit_bytes(spec.float_type)
        start = int(rng.integers(len(pool) // unit)) * unit
        left = spec.nbytes
        while left:
            part = pool[start : start + left]
            yield part
            left -= len(part)
            start = 0

    def _pool(self, float_type: FloatType, std: float) -> memoryview:
        if (float_type, std) not in self._pools:
            # A prime number of units: rows of a matrix start at ever other places of the pool.
            n_units = _prime_at_most(self._pool_bytes // _unit_bytes(float_type))
            rng = np.random.default_rng((self._seed, int(float_type)))
            self._pools[float_type, std] = _FILLERS[float_type](rng, n_units, std)
        return self._pools[float_type, std]


def _unit_bytes(float_type: FloatType) -> int:
    return row_bytes(float_type, Q_BLOCK if float_type.is_quantized else 1)


def _norm(rng: np.random.Generator, n: int) -> memoryview:
    return (1 + 0.1 * rng.standard_normal(n)).astype("<f4").view(np.uint8).data


def _blocks(rng: np.random.Generator, n_blocks: int, delta: float, block_bytes: int) -> memoryview:
    """Random blocks whose scales have both signs, so that the mean weight is zero."""
    blocks = rng.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    signs = rng.choice(np.array([-1, 1], dtype=np.float32), n_blocks)
    scales = (delta * signs * rng.uniform(0.75, 1.25, n_blocks)).astype("<f2")  # (n_blocks,)
    blocks[:, :2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1).data


def _q40(rng: np.random.Generator, n_units: int, std: float) -> memoryview:
    return _blocks(rng, n_units, std / NIBBLE_STD, 2 + Q_BLOCK // 2)


def _q80(rng: np.random.Generator, n_units: int, std: float) -> memoryview:
    blocks = np.asarray(_blocks(rng, n_units, std / BYTE_STD, 2 + Q_BLOCK)).reshape(n_units, -1)
    values = blocks[:, 2:]
    values[values == 0x80] = 0  # no quantizer gives -128
    return blocks.reshape(-1).data


def _f16(rng: np.random.Generator, n_units: int, std: float) -> memoryview:
    values = rng.standard_normal(n_units, dtype=np.float32) * np.float32(std)
    return values.astype("<f2").view(np.uint8).data


def _f32(rng: np.random.Generator, n_units: int, std: float) -> memoryview:
    values = rng.standard_normal(n_units, dtype=np.float32) * np.float32(std)
    return values.astype("<f4").view(np.uint8).data


_FILLERS: dict[FloatType, Callable[[np.random.Generator, int, float], memoryview]] = {
    FloatType.F32: _f32,
    FloatType.F16: _f16,
    FloatType.Q40: _q40,
    FloatType.Q80: _q80,
}


def _prime_at_most(n: int) -> int:
    while any(n % divisor == 0 for divisor in range(2, int(n**0.5) + 1)):
        n -= 1
    return n


def _slug(shape: str, seed: int) -> str:
    """A file name for a shape: its own name, or the list's first words and a digest."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", shape).strip("-")
    if shape not in SHAPES:
        name = f"{name[:60]}-{hashlib.sha256(shape.encode()).hexdigest()[:8]}"
    return f"synthetic-{name}" + (f"-seed{seed}" if seed else "")


def _is_whole(path: Path, config: ModelConfig) -> bool:
    """Whether the file is there with this header and size; it is written whole or not at all."""
    header = encode_header(config)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return size == model_bytes(config) and file.read(len(header)) == header
    except FileNotFoundError:
        return False


def _check_disk_space(shape: str, folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    limit_bytes = free_bytes - SPARE_DISK_BYTES
    if needed_bytes > limit_bytes:
        raise DiskSpaceError(
            f"synthetic {shape} takes {needed_bytes} bytes, but {folder} has {free_bytes} free and "
            f"{SPARE_DISK_BYTES} stay spare: {needed_bytes - limit_bytes} bytes are missing; free "
            "them or choose another folder or a smaller shape"
        )
