"""Reads memory and does nothing else: the yardstick of kernels that are bound by it.

It reads in the fastest ways found: four places at once, each fetched ahead, by one hint a line or
by two. Which of them is the faster depends on the CPU (docs/kernels.md), so passes take turns.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.llvm.atomics import add, load, relax, store, yield_core
from dllama_engine.tables.streaming import DONE, GO, READY

_SPINS = 10_000

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_I64, 8)
_LINES = 2  # cache lines of a stream that are read in turn
_STEP = 8 * _LINES  # words
_STREAMS = 4  # places read at once
# Ways: how far each is fetched ahead, to which level of caches.
_WAYS = ((4096, 2), (1024, 1)), ((2048, 1),)


def _xor_words(typingctx: Any, way: Any, words: Any, n: Any) -> Any:
    """The exclusive or of _STREAMS stretches of n words, one behind the other; words int64.

    n must be a multiple of _STEP, the way a constant.
    """
    if not isinstance(way, types.Literal):
        return None  # numba asks again with a literal type

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[1])(context, builder, args[1])
        zero, step = ir.Constant(args[2].type, 0), ir.Constant(args[2].type, _STEP)
        empty = ir.Constant(_VECTOR, [0] * 8)
        totals = [cgutils.alloca_once_value(builder, empty) for _ in range(_STREAMS * _LINES)]
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, zero, args[2], step, inc=True) as (index, _):
            for place, total in enumerate(totals):
                stream, line = divmod(place, _LINES)
                start = builder.mul(args[2], ir.Constant(index.type, stream))
                offset = builder.add(start, ir.Constant(index.type, 8 * line))
                at = builder.gep(array.data, [builder.add(index, offset)])
                for n_bytes, level in _WAYS[way.literal_value]:
                    ahead = builder.gep(at, [ir.Constant(index.type, n_bytes // 8)])
                    options = [ir.Constant(_I32, value) for value in (0, 4 - level, 1)]
                    builder.call(fetch, [builder.bitcast(ahead, _I8.as_pointer()), *options])
                value = builder.load(builder.bitcast(at, _VECTOR.as_pointer()), align=8)
                builder.store(builder.xor(builder.load(total), value), total)
        joined = empty
        for total in totals:
            joined = builder.xor(joined, builder.load(total))
        result = ir.Constant(_I64, 0)
        for lane in range(8):
            result = builder.xor(result, builder.extract_element(joined, ir.Constant(_I32, lane)))
        return result

    return types.int64(way, words, types.intp), codegen


_xor: Any = intrinsic(prefer_literal=True)(_xor_words)


@njit(cache=True, nogil=True)
def read_words(words: Any, index: int) -> Any:
    """The exclusive or of int64 words (n,), all of them read, in places far from each other.

    Args:
        words: what to read.
        index: of the pass; they take the ways in turns.
    """
    part = words.shape[0] // _STREAMS
    part -= part % _STEP
    result = _xor(1, words, part) if index % 2 else _xor(0, words, part)
    for i in range(_STREAMS * part, words.shape[0]):
        result ^= words[i]
    return result


@njit(cache=True, nogil=True)
def wait_until(control: Any, word: int, value: int) -> None:
    """Spin until control[word] has reached `value`; let others have the core if that takes long."""
    spins = 0
    while load(control, word) < value:
        spins += 1
        if spins % _SPINS:
            relax()
        else:
            yield_core()


@njit(cache=True, nogil=True)
def read_when_told(words: Any, control: Any, passes: int) -> Any:
    """A helper: reads `words` once each time that GO is raised, `passes` times."""
    result = 0
    for index in range(passes):
        add(control, READY, 1)
        wait_until(control, GO, index + 1)
        result ^= read_words(words, index)
        add(control, DONE, 1)
    return result


@njit(cache=True, nogil=True)
def read_with_helpers(words: Any, control: Any, index: int, n_helpers: int) -> Any:
    """The caller's part of pass `index`; returns when the helpers have done theirs too."""
    store(control, GO, index + 1)
    result = read_words(words, index)
    wait_until(control, DONE, (index + 1) * n_helpers)
    return result
