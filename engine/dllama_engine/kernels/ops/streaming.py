"""Reading memory by address: what `kernels.streaming` does, for Python to call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from dllama_engine.kernels import streaming
from dllama_engine.kernels.llvm.atomics import pointer
from dllama_engine.kernels.ops.compiled import entry
from dllama_engine.tables.streaming import CONTROL_WORDS


@entry(3)
def wait_until(control: int, word: int, value: int) -> None:
    """Spin until the control array's word has reached `value`."""
    streaming.wait_until(carray(pointer(control), (CONTROL_WORDS,), np.int64), word, value)


@entry(4, returns=True)
def read_when_told(words: int, n: int, control: int, passes: int) -> Any:
    """A helper of `read_with_helpers`; the exclusive or of what it read."""
    return streaming.read_when_told(
        carray(pointer(words), (n,), np.int64),
        carray(pointer(control), (CONTROL_WORDS,), np.int64),
        passes,
    )


@entry(5, returns=True)
def read_with_helpers(words: int, n: int, control: int, index: int, n_helpers: int) -> Any:
    """The caller's part of a pass; the exclusive or of what it read."""
    return streaming.read_with_helpers(
        carray(pointer(words), (n,), np.int64),
        carray(pointer(control), (CONTROL_WORDS,), np.int64),
        index,
        n_helpers,
    )
