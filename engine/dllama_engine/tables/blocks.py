"""Blocks of quantized rows, and how those of Q40 matrices are packed.

Eight rows interleave, each a lane of every vector.
"""

from __future__ import annotations

BLOCK = 32  # values of a row that share a scale
LANES = 8  # rows a group
STEPS = 4  # vectors a block; each gives two steps, low and high nibbles
