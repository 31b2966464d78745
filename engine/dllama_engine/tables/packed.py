"""How Q40 matrices are packed: eight rows interleave, each a lane of every vector."""

from __future__ import annotations

LANES = 8  # rows a group
STEPS = 4  # vectors a block; each gives two steps, low and high nibbles
