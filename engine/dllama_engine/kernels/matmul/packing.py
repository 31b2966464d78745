"""From Q40 and Q80 blocks as they stand in files to the arrays that the products read.

Sources are addresses, with the bytes from one row to the next: a slice of columns of a mapped file
is packed where it lies, and nothing is compiled anew for an array that may not be written to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.tables.blocks import LANES, STEPS

Q40_BYTES, Q80_BYTES = 18, 34  # a block of 32 values: its delta, half precision, and the values
_EDGE = 32  # bytes of a vector
_HALF_EXPONENT = 0x7C00  # all ones: infinity or NaN

_I8, _I16, _I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
_QUAD, _HALVES = ir.VectorType(_I32, 4), ir.VectorType(_I16, LANES)


def _unaligned(builder: Any, address: Any, kind: ir.Type) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _put(builder: Any, value: Any, address: Any) -> Any:
    return builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _fetch(builder: Any, address: Any) -> None:
    """Have a cache line brought in."""
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    line = builder.inttoptr(address, _I8.as_pointer())
    builder.call(fetch, [line, *(ir.Constant(_I32, value) for value in (0, 3, 1))])


def _offset(builder: Any, address: Any, n_bytes: int) -> Any:
    return builder.add(address, ir.Constant(address.type, n_bytes))


def _joined(builder: Any, vectors: list[Any]) -> Any:
    """Vectors of equal length, a power of two of them, as one."""
    while len(vectors) > 1:
        size = 2 * vectors[0].type.count
        mask = ir.Constant(ir.VectorType(_I32, size), list(range(size)))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.shuffle_vector(a, b, mask) for a, b in pairs]
    return vectors[0]


def emit_block(
    builder: Any, row: Any, stride: Any, weights: Any, deltas: Any, streams: bool
) -> Any:
    """One Q40 block of eight rows, `stride` bytes apart: 128 packed bytes and eight deltas.

    Streamed weights must begin on an edge of 32 bytes and go past the caches, as memcpy's do; a
    thread that waits on a lock for this one to end finds them there. Addresses are 64-bit words.

    Returns:
        Whether every delta is finite.
    """
    group = builder.mul(stride, ir.Constant(stride.type, LANES))
    quads, halves = [], ir.Constant(_HALVES, ir.Undefined)
    for lane in range(LANES):
        half = _unaligned(builder, row, _I16)
        halves = builder.insert_element(halves, half, ir.Constant(_I32, lane))
        quads.append(_unaligned(builder, _offset(builder, row, 2), _QUAD))
        _fetch(builder, builder.add(row, group))
        row = builder.add(row, stride)
    upper, lower = _joined(builder, quads[:4]), _joined(builder, quads[4:])
    for step in range(STEPS):
        picked = [STEPS * lane + step for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(_I32, LANES), picked)
        vector = builder.shuffle_vector(upper, lower, mask)
        store = _put(builder, vector, _offset(builder, weights, 4 * LANES * step))
        if streams:
            store.align = _EDGE
            one = builder.module.add_metadata([ir.Constant(_I32, 1)])
            store.set_metadata("nontemporal", one)
    _put(builder, halves, deltas)
    ones = ir.Constant(_HALVES, [_HALF_EXPONENT] * LANES)
    bad = builder.icmp_unsigned("==", builder.and_(halves, ones), ones)
    return builder.icmp_unsigned("==", builder.bitcast(bad, _I8), ir.Constant(_I8, 0))


def _make_interleave_block(streams: bool) -> Any:
    def interleave_block(
        typingctx: Any, source: Any, stride: Any, weights: Any, deltas: Any
    ) -> tuple[Any, Any]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            row, stride, weights, deltas = args
            return emit_block(builder, row, stride, weights, deltas, streams)

        word = types.int64
        return types.boolean(word, word, word, word), codegen

    return intrinsic(interleave_block)


_interleave_streaming: Any = _make_interleave_block(True)
_interleave_anywhere: Any = _make_interleave_block(False)


@njit(nogil=True)
def _pack_group(source: int, stride: int, weights: Any, deltas: Any) -> bool:
    """Eight rows; weights uint8 (n_blocks, 4, 32), deltas uint16 (n_blocks, 8)."""
    finite = True
    to, to_deltas = weights.ctypes.data, deltas.ctypes.data
    streams = to % _EDGE == 0
    for block in range(deltas.shape[0]):
        at, to_block = source + Q40_BYTES * block, to + 4 * LANES * STEPS * block
        if streams:
            finite &= _interleave_streaming(at, stride, to_block, to_deltas + 2 * LANES * block)
        else:
            finite &= _interleave_anywhere(at, stride, to_block, to_deltas + 2 * LANES * block)
    return finite


@njit(inline="always")
def _bytes(address: Any, n: Any) -> Any:
    return carray(pointer(address), (n,), np.uint8)


@njit(inline="always")
def _delta(block: Any) -> Any:
    return np.uint16(block[0]) | np.uint16(np.uint16(block[1]) << 8)


@njit(inline="always")
def _is_finite(delta: Any) -> Any:
    return (delta & _HALF_EXPONENT) != _HALF_EXPONENT


@njit(nogil=True)
def _pack_row(source: int, weights: Any, deltas: Any, row: int) -> bool:
    """One row into its lane; for groups of which only some rows are at hand."""
    group, lane = row // LANES, row % LANES
    finite = True
    for block in range(deltas.shape[1]):
        raw = _bytes(source + Q40_BYTES * block, Q40_BYTES)
        deltas[group, block, lane] = _delta(raw)
        finite &= _is_finite(deltas[group, block, lane])
        for step in range(STEPS):
            for i in range(4):
                weights[group, block, step, 4 * lane + i] = raw[2 + 4 * step + i]
    return finite


@njit(cache=True, nogil=True)
def pack_q40(source: int, stride: int, n_rows: int, weights: Any, deltas: Any, first: int) -> bool:
    """Interleave rows for `kernels.q40`.

    Args:
        source: address of the first row, n_blocks * 18 bytes.
        stride: bytes from one row to the next.
        n_rows: how many.
        weights: uint8 (groups, n_blocks, 4, 32), contiguous, written.
        deltas: half-precision bits uint16 (groups, n_blocks, 8), contiguous, written.
        first: which row of the packed matrix the first one is.

    Returns:
        Whether every delta is finite.
    """
    finite = True
    row = 0
    while row < n_rows:
        at = source + row * stride
        if (first + row) % LANES or n_rows - row < LANES:
            finite &= _pack_row(at, weights, deltas, first + row)
            row += 1
            continue
        group = (first + row) // LANES
        finite &= _pack_group(at, stride, weights[group], deltas[group])
        row += LANES
    return finite


@njit(cache=True, nogil=True)
def split_q80(source: int, stride: int, values: Any, deltas: Any) -> bool:
    """Part the deltas of Q80 blocks from their values.

    Args:
        source: address of the first row, n_blocks * 34 bytes.
        stride: bytes from one row to the next.
        values: int8 (rows, n_blocks, 32), written.
        deltas: half-precision bits uint16 (rows, n_blocks), written.

    Returns:
        Whether every delta is finite.
    """
    finite = True
    for row in range(values.shape[0]):
        for block in range(values.shape[1]):
            raw = _bytes(source + row * stride + Q80_BYTES * block, Q80_BYTES)
            deltas[row, block] = _delta(raw)
            finite &= _is_finite(deltas[row, block])
            for i in range(values.shape[2]):
                values[row, block, i] = np.int8(raw[2 + i])
    return finite
