"""Matrices packed for the kernels, and the activations that they are multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Bytes, Floats
from dllama_engine.errors import ModelFileError
from dllama_engine.formats.activations import activation_buffers, reads_q80
from dllama_engine.formats.quants import Q_BLOCK, FloatType, row_bytes
from dllama_engine.kernels import entries
from dllama_engine.kernels.entries import Entry
from dllama_engine.system.arena import Arena, padded
from dllama_engine.tables import operations
from dllama_engine.tables.blocks import LANES, STEPS


class Activations:
    """Up to so many input vectors of n values, cast to the buffer type.

    Weights that are not quantized read float32: with Q80 buffers that is the cast's result,
    dequantized again, so that the numbers are those of the buffer type all the same.

    Args:
        arrays: as `activation_buffers` has them, by name.
        buffer_type: what the vectors are cast to.
        weight_type: of the matrices that read them.
    """

    def __init__(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        buffer_type: FloatType,
        weight_type: FloatType,
    ) -> None:
        self.is_q80 = buffer_type is FloatType.Q80
        self.reads_q80 = reads_q80(buffer_type, weight_type)
        self._needs_sums = self.reads_q80 and weight_type is FloatType.Q40
        self.values: npt.NDArray[np.int8] = arrays["values"]
        self.scales: Floats = arrays["scales"]
        self.sums: npt.NDArray[np.int32] = arrays["sums"]
        self.floats: Floats = arrays["floats"]
        self.n = (self.values if self.is_q80 else self.floats).shape[1]

    @classmethod
    def zeros(
        cls, rows: int, n: int, buffer_type: FloatType, weight_type: FloatType
    ) -> Activations:
        """New ones, of up to `rows` vectors."""
        buffers = activation_buffers(rows, n, buffer_type, weight_type)
        arrays = {name: buffer.zeros() for name, buffer in buffers.items()}
        return cls(arrays, buffer_type, weight_type)

    def fields(self) -> tuple[int, ...]:
        """How the kernels' operations find it: n, flags and the addresses of its arrays."""
        flags = (
            operations.IS_Q80 * self.is_q80
            + operations.NEEDS_SUMS * self._needs_sums
            + operations.NEEDS_FLOATS * (self.is_q80 and not self.reads_q80)
        )
        arrays = self.values, self.scales, self.sums, self.floats
        return self.n, flags, *(int(array.ctypes.data) for array in arrays)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(a.nbytes for a in (self.values, self.scales, self.sums, self.floats))


_PRODUCTS: dict[tuple[FloatType, bool], Entry] = {
    (FloatType.Q40, True): entries.Q40_Q80,
    (FloatType.Q80, True): entries.Q80_Q80,
    (FloatType.Q40, False): entries.Q40_F32,
    (FloatType.Q80, False): entries.Q80_F32,
    (FloatType.F16, False): entries.F16_F32,
    (FloatType.F32, False): entries.F32_F32,
}
_GRAIN = 2 * LANES  # rows; parts of a matrix start at multiples of it
_CHUNK_BYTES = 1 << 18
_MIN_CHUNKS = 16
_LARGE_SHARE = 0.9  # of one token's product, in chunks as large as a thread's share of it


class Linear:
    """y = x W^T for a packed W of `rows` outputs; parts of W may arrive one after another."""

    def __init__(
        self, rows: int, cols: int, float_type: FloatType, arena: Arena | None = None
    ) -> None:
        self.rows, self.cols, self.float_type = rows, cols, float_type
        zeros = np.zeros if arena is None else arena.zeros
        self.packed: tuple[npt.NDArray[Any], ...] = tuple(
            zeros(shape, dtype) for shape, dtype in _packed_shapes(rows, cols, float_type)
        )

    def fill(self, raw: Bytes, first_row: int, what: str) -> None:
        """Pack rows as stored, uint8 (n, row_bytes), at `first_row`; columns stand side by side.

        Several threads may do so at once, each its own rows, from a multiple of `LANES` on.

        Raises:
            ModelFileError: a scale or value that is not finite; `what` names the tensor.
        """
        if not self._pack(raw, first_row):
            raise ModelFileError(
                f"{what}: holds a scale or value that is not finite; "
                "the file is damaged or was converted wrongly: convert the model again"
            )

    def _pack(self, raw: Bytes, first_row: int) -> bool:
        """Returns whether everything is finite."""
        assert raw.shape[1] == row_bytes(self.float_type, self.cols)  # addresses are not checked
        assert raw.strides[1] == 1
        assert 0 <= first_row <= self.rows - len(raw)
        address, stride = int(raw.ctypes.data), raw.strides[0]
        if self.float_type is FloatType.Q40:
            weights, deltas = self.packed
            at = weights.ctypes.data, deltas.ctypes.data, *deltas.shape[:2]
            return bool(entries.PACK_Q40(address, stride, len(raw), *at, first_row))
        part = tuple(array[first_row : first_row + len(raw)] for array in self.packed)
        if self.float_type is FloatType.Q80:
            at = part[0].ctypes.data, part[1].ctypes.data, part[1].shape[1]
            return bool(entries.SPLIT_Q80(address, stride, len(raw), *at))
        if self.float_type is FloatType.F16:
            part[0][:] = raw.view(np.uint16)
            return not np.any((part[0] & 0x7C00) == 0x7C00)
        part[0][:] = raw.view(np.float32)
        return bool(np.isfinite(part[0]).all())

    def product(self, x: Activations) -> int:
        """Address of the compiled product with such inputs."""
        return _PRODUCTS[self.float_type, x.reads_q80].address

    def addresses(self) -> tuple[int, int]:
        """Where weights and deltas are; both the same where there are no deltas."""
        first, last = self.packed[0], self.packed[-1]
        return int(first.ctypes.data), int(last.ctypes.data)

    def rows_a_chunk(self) -> int:
        """Into how many rows a product is best cut for threads."""
        by_size = _CHUNK_BYTES // max(1, self.nbytes // self.rows)
        rows = max(1, min(by_size, self.rows // _MIN_CHUNKS))
        return -(-rows // _GRAIN) * _GRAIN

    def large_chunks(self, n_threads: int) -> tuple[int, int]:
        """How many larger chunks of one token's product go first, one a thread, and their rows.

        Each is a long stretch of memory, and few chunks are handed out in all; the small ones
        behind them even out what the threads took longer for. One thread has nothing to even out.
        """
        if n_threads == 1:
            return 1, self.rows
        rows = int(self.rows * _LARGE_SHARE / n_threads) // _GRAIN * _GRAIN
        return (n_threads, rows) if rows > self.rows_a_chunk() else (0, 0)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return sum(array.nbytes for array in self.packed)

    @property
    def stored_bytes(self) -> int:
        """What its values take in the model's file, without what packing adds."""
        return self.rows * row_bytes(self.float_type, self.cols)


def _packed_shapes(
    rows: int, cols: int, float_type: FloatType
) -> tuple[tuple[tuple[int, ...], type], ...]:
    """Shape and type of each array of a packed matrix."""
    if float_type is FloatType.F32:
        return (((rows, cols), np.float32),)
    if float_type is FloatType.F16:
        return (((rows, cols), np.uint16),)
    blocks = cols // Q_BLOCK
    if float_type is FloatType.Q40:
        groups = -(-rows // LANES)
        return (
            ((groups, blocks, STEPS, Q_BLOCK), np.uint8),
            ((groups, blocks, LANES), np.uint16),
        )
    return ((rows, blocks, Q_BLOCK), np.int8), ((rows, blocks), np.uint16)


def packed_bytes(rows: int, cols: int, float_type: FloatType) -> int:
    """Bytes that a packed matrix takes of an arena."""
    return sum(
        padded(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        for shape, dtype in _packed_shapes(rows, cols, float_type)
    )
