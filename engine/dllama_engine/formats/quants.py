"""Float types and 32-value blocks of a `.m` file: plain numpy, the reference of the kernels.

Q40: f16 delta, then 16 bytes whose low nibbles are values 0-15 and high nibbles values 16-31.
Q80: f16 delta, then 32 signed bytes. Knows nothing about files, tensors or threads.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from dllama_engine.errors import EngineError
from dllama_engine.tables.blocks import BLOCK

Q_BLOCK = BLOCK
Q40_BLOCK_BYTES = 2 + Q_BLOCK // 2
Q80_BLOCK_BYTES = 2 + Q_BLOCK

F32Array = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


class FloatType(IntEnum):
    """How a tensor's values are stored; the number is the one in the file."""

    F32 = 0
    F16 = 1
    Q40 = 2
    Q80 = 3

    @property
    def label(self) -> str:
        """The name used on command lines: `f32`, `f16`, `q40`, `q80`."""
        return self.name.lower()

    @property
    def is_quantized(self) -> bool:
        """Whether values come in blocks of 32 that share a scale."""
        return self in (FloatType.Q40, FloatType.Q80)

    @classmethod
    def parse(cls, label: str) -> FloatType:
        """Read a command line's name; `EngineError` lists the known ones."""
        try:
            return cls[label.strip().upper()]
        except KeyError:
            known = ", ".join(kind.label for kind in cls)
            raise EngineError(f"unknown float type {label!r}; one of {known}") from None


def row_bytes(float_type: FloatType, n: int) -> int:
    """Bytes of one row of `n` values.

    >>> row_bytes(FloatType.Q40, 64), row_bytes(FloatType.Q80, 64), row_bytes(FloatType.F32, 64)
    (36, 68, 256)

    Raises:
        EngineError: blocks of 32 do not fill the row.
    """
    if float_type is FloatType.F32:
        return 4 * n
    if float_type is FloatType.F16:
        return 2 * n
    if n % Q_BLOCK:
        raise EngineError(
            f"row size {n} is not a multiple of the {float_type.label} block size {Q_BLOCK}; "
            "use f32 or f16 weights for this shape"
        )
    return n // Q_BLOCK * (Q40_BLOCK_BYTES if float_type is FloatType.Q40 else Q80_BLOCK_BYTES)


def quantize_q40(x: F32Array) -> ByteArray:
    """Quantize f32 (..., n) to Q40 blocks, uint8 (..., n // 32 * 18)."""
    blocks = _blocks(x)  # (..., n_blocks, 32)
    low, high = blocks.min(axis=-1), blocks.max(axis=-1)
    delta = np.where(-low > high, low, high) / np.float32(-8)  # (..., n_blocks)
    scales = _to_half(delta)
    scaled = blocks * _inverse(delta) + np.float32(8.5)
    nibbles = np.clip(np.floor(scaled), 0, 15).astype(np.uint8)
    half = Q_BLOCK // 2
    return _packed(scales, nibbles[..., :half] | (nibbles[..., half:] << 4))


def quantize_q80(x: F32Array) -> ByteArray:
    """Quantize f32 (..., n) to Q80 blocks, uint8 (..., n // 32 * 34)."""
    blocks = _blocks(x)  # (..., n_blocks, 32)
    delta = np.abs(blocks).max(axis=-1) / np.float32(127)  # (..., n_blocks)
    scales = _to_half(delta)
    values = np.clip(_round_half_away(blocks * _inverse(delta)), -127, 127).astype(np.int8)
    return _packed(scales, values.view(np.uint8))


def dequantize_q40(raw: ByteArray) -> F32Array:
    """Expand Q40 blocks, uint8 (..., n // 32 * 18), to f32 (..., n)."""
    delta, packed = _unpacked(raw, Q40_BLOCK_BYTES)
    nibbles = np.concatenate([packed & 0x0F, packed >> 4], axis=-1).astype(np.float32)
    values = (nibbles - np.float32(8)) * delta
    return values.reshape(*raw.shape[:-1], -1)


def dequantize_q80(raw: ByteArray) -> F32Array:
    """Expand Q80 blocks, uint8 (..., n // 32 * 34), to f32 (..., n)."""
    delta, packed = _unpacked(raw, Q80_BLOCK_BYTES)
    values = packed.view(np.int8).astype(np.float32) * delta
    return values.reshape(*raw.shape[:-1], -1)


def encode_tensor(x: F32Array, float_type: FloatType) -> ByteArray:
    """Store f32 (..., n) as `float_type`: uint8 (..., row_bytes(float_type, n))."""
    if float_type is FloatType.Q40:
        return quantize_q40(x)
    if float_type is FloatType.Q80:
        return quantize_q80(x)
    stored = np.ascontiguousarray(x, dtype="<f4")
    if float_type is FloatType.F16:
        return _to_half(stored).view(np.uint8)
    return stored.view(np.uint8)


def decode_tensor(raw: ByteArray, float_type: FloatType) -> F32Array:
    """The f32 (..., n) that uint8 (..., row_bytes) stands for."""
    if float_type is FloatType.Q40:
        return dequantize_q40(raw)
    if float_type is FloatType.Q80:
        return dequantize_q80(raw)
    stored = np.ascontiguousarray(raw).view("<f2" if float_type is FloatType.F16 else "<f4")
    return stored.astype(np.float32)


def nonfinite_values(raw: ByteArray, float_type: FloatType) -> NDArray[np.bool_]:
    """Which values or block scales of uint8 (..., row_bytes) are NaN or infinite."""
    if float_type is FloatType.F32:
        return np.asarray(~np.isfinite(np.ascontiguousarray(raw).view("<f4")))
    halves: NDArray[np.uint16]
    if float_type is FloatType.F16:
        halves = np.ascontiguousarray(raw).view("<u2")
    else:
        halves = _scale_bits(raw, float_type)
    exponent = np.uint16(0x7C00)
    return np.asarray((halves & exponent) == exponent)


def _scale_bits(raw: ByteArray, float_type: FloatType) -> NDArray[np.uint16]:
    """The f16 bits of every block's delta, (..., n_blocks), read in place."""
    block = Q40_BLOCK_BYTES if float_type is FloatType.Q40 else Q80_BLOCK_BYTES
    blocks = np.ascontiguousarray(raw).reshape(*raw.shape[:-1], -1, block)
    bits: NDArray[np.uint16] = blocks[..., :2].view("<u2")[..., 0]
    return bits


def _blocks(x: F32Array) -> F32Array:
    n = x.shape[-1]
    if n % Q_BLOCK:
        raise EngineError(f"row size {n} is not a multiple of the block size {Q_BLOCK}")
    return np.asarray(x, dtype=np.float32).reshape(*x.shape[:-1], n // Q_BLOCK, Q_BLOCK)


def _inverse(delta: F32Array) -> F32Array:
    """1 / delta, and 0 where delta is 0 or so small that its inverse is not finite."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / delta
    return np.where(np.isfinite(inverse), inverse, np.float32(0))[..., None]


def _round_half_away(x: F32Array) -> F32Array:
    """Nearest whole number, halves away from zero, as C's roundf."""
    whole = np.trunc(x)
    rest = np.abs(x - whole)  # exact
    return np.asarray(whole + np.copysign(rest >= np.float32(0.5), x))


def _to_half(x: F32Array) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = x.astype("<f2")
    if not np.isfinite(half).all():
        worst = float(np.abs(x).max())
        raise EngineError(
            f"a value or scale of {worst:g} does not fit f16 (limit 65504); "
            "mend the values or store f32"
        )
    return half


def _packed(scales: NDArray[np.float16], values: ByteArray) -> ByteArray:
    """Join deltas (..., n_blocks) and their bytes (..., n_blocks, k) to rows."""
    scale_bytes = np.ascontiguousarray(scales)[..., None].view(np.uint8)  # (..., n_blocks, 2)
    joined = np.concatenate([scale_bytes, values], axis=-1)
    return joined.reshape(*scales.shape[:-1], -1)


def _unpacked(raw: ByteArray, block_bytes: int) -> tuple[F32Array, ByteArray]:
    """Split rows into deltas f32 (..., n_blocks, 1) and bytes (..., n_blocks, k)."""
    if raw.shape[-1] % block_bytes:
        raise EngineError(
            f"row of {raw.shape[-1]} bytes is not a whole number of {block_bytes}-byte blocks"
        )
    blocks = np.ascontiguousarray(raw).reshape(*raw.shape[:-1], -1, block_bytes)
    delta = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    return delta, np.ascontiguousarray(blocks[..., 2:])
