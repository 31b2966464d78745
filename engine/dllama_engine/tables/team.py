"""The control array by which threads share out operations: int64 (CONTROL_WORDS,).

It is aligned to 64 bytes; hot words have a line of their own.
"""

from __future__ import annotations

WORD, ENDED, SLEEPERS, STOP = 0, 8, 16, 24
TABLE, TABLE_ROWS, LAST, TOKENS, POS, ROW = range(32, 38)
CLOCK = 40  # two words
STOPPED, STATUS = 42, 43  # where the leading thread stopped, and why
CONTROL_WORDS = 44

IDLE = 0x7FFF  # the operation's number when there is none
OP_SHIFT = 48  # bits of WORD below the operation's number
