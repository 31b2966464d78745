"""Reads memory and does nothing else: the yardstick of kernels that are bound by it."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_VECTOR = ir.VectorType(ir.IntType(64), 8)
_AHEAD_BYTES = 6144  # as the products fetch their weights


def _xor_words(typingctx: Any, words: Any, n: Any) -> Any:
    """The exclusive or of the first n words, n a multiple of 16; words int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        zero, step = ir.Constant(args[1].type, 0), ir.Constant(args[1].type, 16)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0] * 8)) for _ in "ab"]
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), i32, i32, i32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, zero, args[1], step, inc=True) as (index, _):
            for part, total in enumerate(totals):
                at = builder.gep(
                    array.data, [builder.add(index, ir.Constant(index.type, 8 * part))]
                )
                ahead = builder.gep(at, [ir.Constant(index.type, _AHEAD_BYTES // 8)])
                options = [ir.Constant(i32, value) for value in (0, 3, 1)]
                builder.call(fetch, [builder.bitcast(ahead, ir.IntType(8).as_pointer()), *options])
                value = builder.load(builder.bitcast(at, _VECTOR.as_pointer()), align=8)
                builder.store(builder.xor(builder.load(total), value), total)
        both = builder.xor(*(builder.load(total) for total in totals))
        result = ir.Constant(ir.IntType(64), 0)
        for lane in range(8):
            result = builder.xor(result, builder.extract_element(both, ir.Constant(i32, lane)))
        return result

    return types.int64(words, types.intp), codegen


_xor: Any = intrinsic(_xor_words)


@njit(cache=True, nogil=True)
def read_words(words: Any) -> Any:
    """The exclusive or of int64 words, all of them read."""
    return _xor(words, words.shape[0] - words.shape[0] % 16)
