"""How many values of a quantized row share a scale, on both sides."""

from __future__ import annotations

BLOCK = 32
