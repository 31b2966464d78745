"""The kinds of arrays that most modules speak of, each declared once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Table = npt.NDArray[np.int64]  # what Python and compiled code share
