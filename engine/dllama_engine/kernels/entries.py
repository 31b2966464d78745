"""Every function of compiled code that Python knows the address of, by name.

An address is that of the mapped image of machine code (`kernels.image`) if there is one; else the
function's module is imported now, numba with it, and compiles it. So nothing here imports numba.
"""

from __future__ import annotations

import ctypes
from functools import cached_property
from importlib import import_module
from typing import Any

from dllama_engine.kernels.image import mapped


class Entry:
    """A function of whole numbers (addresses among them) with at most one as its result.

    Called from Python, it runs without the lock of the interpreter.

    Args:
        name: module below `kernels`, and the function in it, e.g. ops.layers.norm.
        n_arguments: how many it takes.
        returns: whether it has a result.
    """

    def __init__(self, name: str, n_arguments: int, *, returns: bool = False) -> None:
        self.name, self.n_arguments, self.returns = name, n_arguments, returns

    @cached_property
    def compiled(self) -> Any:
        """What numba compiles, a `kernels.ops.compiled.Compiled`; imports numba."""
        module, _, function = self.name.rpartition(".")
        return getattr(import_module(f"dllama_engine.kernels.{module}"), function)

    @cached_property
    def address(self) -> int:
        """Where its machine code is."""
        found = mapped.address(self.name)
        return int(self.compiled.address) if found is None else found

    @cached_property
    def _call(self) -> Any:
        word = ctypes.c_int64
        result = word if self.returns else None
        return ctypes.CFUNCTYPE(result, *[word] * self.n_arguments)(self.address)

    def __call__(self, *arguments: int) -> int:
        """Run it; 0 if it has no result."""
        return self._call(*arguments) or 0


def _operation(name: str) -> Entry:
    return Entry(f"ops.{name}", 6)


def _product(name: str) -> Entry:
    return Entry(f"ops.matmul.{name}", 12)


NORM, NORM_LOAD = _operation("layers.norm"), _operation("layers.norm_load")
LOAD, ADD_CAST = _operation("layers.load"), _operation("layers.add_cast")
ACTIVATE, ACTIVATE_LOAD = _operation("layers.activate"), _operation("layers.activate_load")
HEAD_NORMS = _operation("layers.head_norms")
ROPE_STORE_F32, ROPE_STORE_F16 = (
    _operation("layers.rope_store_f32"),
    _operation("layers.rope_store_f16"),
)
ATTEND_F32, ATTEND_F16 = _operation("layers.attend_f32"), _operation("layers.attend_f16")
PACK, ADD, PLACE = _operation("parts.pack"), _operation("parts.add"), _operation("parts.place")
REDUCE = _operation("parts.reduce")
ROUTE, TAKE = _operation("moe.route"), _operation("moe.take")
MULTIPLY_EXPERTS, COMBINE = _operation("moe.multiply"), _operation("moe.combine")

MULTIPLY = _operation("matmul.multiply")
Q40_Q80, Q80_Q80 = _product("q40_q80"), _product("q80_q80")
Q40_F32, Q80_F32 = _product("q40_f32"), _product("q80_f32")
F16_F32, F32_F32 = _product("f16_f32"), _product("f32_f32")

LEAD, HELP_OUT, DISMISS = (
    Entry("run.team.lead", 3),
    Entry("run.team.help_out", 1),
    Entry("run.team.dismiss", 1),
)
EXCHANGE = Entry("run.exchange.exchange_at", 6, returns=True)
COUNT_PENDING = Entry("run.observe.count_pending", 1)
RELAY = Entry("run.relay.forward_at", 5, returns=True)
PACK_Q40 = Entry("ops.packing.pack_q40", 8, returns=True)
SPLIT_Q80 = Entry("ops.packing.split_q80", 6, returns=True)
WAIT_UNTIL = Entry("ops.streaming.wait_until", 3)
READ_WHEN_TOLD = Entry("ops.streaming.read_when_told", 4, returns=True)
READ_WITH_HELPERS = Entry("ops.streaming.read_with_helpers", 5, returns=True)

ALL = tuple(value for value in vars().values() if isinstance(value, Entry))
