"""Where each rank's part of a vector stands: int64 (world_size, PART_WIDTH)."""

from __future__ import annotations

PART_AT, FIRST_COLUMN, COLUMNS = range(3)
PART_WIDTH = 3
