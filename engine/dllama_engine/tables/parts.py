"""Where parts of a vector stand and which of its columns they hold: int64 (n, PART_WIDTH).

A part of some rows begins PART_OFFSET bytes a row behind PART_AT: parts that stand side by side
have no gaps, whatever the batch.
"""

from __future__ import annotations

PART_AT, PART_OFFSET, FIRST_COLUMN, COLUMNS = range(4)
PART_WIDTH = 4
