"""Functions of the C library, which dllama computes with, on numpy arrays of float32."""

from __future__ import annotations

import ctypes
from ctypes.util import find_library

import numpy as np
import numpy.typing as npt
import pytest

Floats = npt.NDArray[np.float32]


def apply(name: str, *arguments: Floats) -> Floats:
    """libm's function, value by value; the test is skipped where there is no libm."""
    library = find_library("m")
    if library is None:
        pytest.skip("no C library for mathematics was found")
    function = getattr(ctypes.CDLL(library), name)
    function.restype = ctypes.c_float
    function.argtypes = [ctypes.c_float] * len(arguments)
    rows = zip(*(argument.tolist() for argument in arguments), strict=True)
    return np.array([function(*row) for row in rows], np.float32)


def fused(a: Floats, b: Floats, c: Floats) -> Floats:
    """a * b + c, rounded once."""
    return apply("fmaf", *(np.ascontiguousarray(part) for part in np.broadcast_arrays(a, b, c)))
