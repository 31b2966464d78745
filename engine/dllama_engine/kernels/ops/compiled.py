"""Functions that compiled code calls by their address, each compiled alone and at its first use.

numba links all that a function calls into it and optimizes the whole again at each level; behind an
address, a kernel is compiled once, and only what a model needs is compiled at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic


class Compiled:
    """A function of whole numbers (addresses among them) with at most one as its result."""

    def __init__(
        self, function: Callable[..., Any], n_arguments: int, returns: bool = False
    ) -> None:
        self.function, self.n_arguments, self.returns = function, n_arguments, returns
        self.__doc__ = function.__doc__

    @cached_property
    def address(self) -> int:
        """Where its machine code is; compiled, or loaded from the cache, when first asked for."""
        result: Any = types.int64 if self.returns else types.void
        compile_it: Any = cfunc(
            result(*[types.int64] * self.n_arguments), cache=True, error_model="numpy"
        )
        self._compiled = compile_it(self.function)  # must not be collected
        return int(self._compiled.address)


def caller(n_arguments: int) -> Any:
    """What calls such a function from compiled code: (address, arguments)."""

    def call(typingctx: Any, address: Any, arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(ir.VoidType(), [word] * n_arguments)
            pointer = builder.inttoptr(args[0], kind.as_pointer())
            builder.call(pointer, [builder.extract_value(args[1], i) for i in range(n_arguments)])
            return context.get_dummy_value()

        return types.void(types.int64, types.UniTuple(types.int64, n_arguments)), codegen

    return intrinsic(call)


_OPERATION_ARGUMENTS = 6

call_operation: Any = caller(_OPERATION_ARGUMENTS)


def operation(function: Callable[[int, int, int, int, int, int], None]) -> Compiled:
    """Some items of a row of the table of operations.

    Its arguments: the row's address, rows of the arrays, position of the first token, first row of
    x that a norm reads, first item, one past the last item.
    """
    return Compiled(function, _OPERATION_ARGUMENTS)


def entry(n_arguments: int, returns: bool = False) -> Callable[[Callable[..., Any]], Compiled]:
    """What Python calls itself (`kernels.entries`), outside of any table."""
    return lambda function: Compiled(function, n_arguments, returns)
