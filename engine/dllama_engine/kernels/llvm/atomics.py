"""Atomic words, pauses and futexes for threads that meet inside compiled code, without Python."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from dllama_engine.kernels.cpu import machine

_MACHINE = machine()
_HAS_FUTEX = sys.platform.startswith("linux") and _MACHINE in ("x86_64", "aarch64")
_SYS_FUTEX = 202 if _MACHINE == "x86_64" else 98
_WAIT_PRIVATE, _WAKE_PRIVATE = 128, 129
_NAP_US = 50  # where there are no futexes

_syscall: Any = types.ExternalFunction(
    "syscall",
    types.int64(*[types.int64] * 7),  # number and six arguments
)
_usleep: Any = types.ExternalFunction("usleep", types.int32(types.uint32))
_sched_yield: Any = types.ExternalFunction("sched_yield", types.int32())


def _word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Pointer to words[index]; `words` is int64 (n,)."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def _load(typingctx: Any, words: Any, index: Any) -> Any:
    """words[index], before anything that follows."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature, args), "seq_cst", 8)

    return types.int64(words, types.intp), codegen


def _store(typingctx: Any, words: Any, index: Any, value: Any) -> Any:
    """words[index] = value, after everything that precedes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _word(context, builder, signature, args)
        builder.store_atomic(args[2], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), codegen


def _add(typingctx: Any, words: Any, index: Any, value: Any) -> Any:
    """words[index] += value; returns what it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _word(context, builder, signature, args)
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(words, types.intp, types.int64), codegen


def _swap(typingctx: Any, words: Any, index: Any, expected: Any, value: Any) -> Any:
    """words[index] = value if it is `expected`; returns whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _word(context, builder, signature, args)
        pair = builder.cmpxchg(pointer, args[2], args[3], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(words, types.intp, types.int64, types.int64), codegen


def _relax(typingctx: Any) -> Any:
    """Tell the core that this is a spinning loop."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _MACHINE == "x86_64":
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        elif _MACHINE == "aarch64":
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), codegen


def _pointer(typingctx: Any, address: Any) -> Any:
    """An address as a pointer, for `numba.carray`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
add: Any = intrinsic(_add)
compare_and_swap: Any = intrinsic(_swap)
relax: Any = intrinsic(_relax)
pointer: Any = intrinsic(_pointer)


@njit(nogil=True)
def yield_core() -> None:
    """Let another thread have this core."""
    _sched_yield()


@njit(nogil=True)
def wait_while(address: int, low32: int) -> None:
    """Sleep while the 32 bits at `address` are `low32`; may return early."""
    if _HAS_FUTEX:
        _syscall(_SYS_FUTEX, address, _WAIT_PRIVATE, low32, 0, 0, 0)
    else:
        _usleep(_NAP_US)


@njit(nogil=True)
def wake_all(address: int) -> None:
    """Wake everyone who sleeps on `address`."""
    if _HAS_FUTEX:
        _syscall(_SYS_FUTEX, address, _WAKE_PRIVATE, 0x7FFFFFFF, 0, 0, 0)
