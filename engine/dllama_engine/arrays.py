"""The kinds of arrays that most modules speak of, each declared once; and one before it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Table = npt.NDArray[np.int64]  # what Python and compiled code share


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array to be made: what a plan sums up, and what is then allocated."""

    shape: tuple[int, ...]
    dtype: type[np.generic]

    @property
    def nbytes(self) -> int:
        """Its memory.

        >>> Buffer((2, 3), np.float32).nbytes, Buffer((2, 0), np.int64).nbytes
        (24, 0)
        """
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def zeros(self) -> npt.NDArray[Any]:
        """The array."""
        return np.zeros(self.shape, self.dtype)
