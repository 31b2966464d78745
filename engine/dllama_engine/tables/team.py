"""The control array by which threads share out operations: int64 (CONTROL_WORDS,).

It is aligned to 64 bytes; hot words have a line of their own.
"""

from __future__ import annotations

WORD, ENDED, SLEEPERS, STOP = 0, 8, 16, 24
TABLE, TABLE_ROWS, LAST, ROW = range(32, 36)
POSTED = 36  # the row of the exchange under way while others are computed, and one; 0: none is
SPANS_AT = 38  # the row of `tables.spans` that time is counted in; 0: it is not counted
SLOW_AT = 39  # per mille by which each kind of work is slowed down on purpose; 0: none is
CLOCK = 40  # two words
STOPPED, STATUS = 42, 43  # where the leading thread stopped, and why
MARK = 44  # when the last span ended; 0: none has begun
TIMELINE_AT = 45  # the ring of work (`tables.timeline`); 0: none is kept
SPAN_CLOCK = 46  # two words, of whoever ends an operation
FLOORS_AT = (
    48  # how long each operation takes at least (`tables.operations`); 0: as long as it does
)
DUE = 49  # when the emulated memory has read all since the last exchange
TOKENS, POS = 50, 52  # of each lane: rows, and the position of the first
LANES = 2
# Of a decode loop: steps that it went on with (the root: that gave a token); time spent on them
# outside exchanges; when the one under way was asked for, or the last one ended; what the links had
# spent then (`links.SPENT_NS`). On the root: how many steps there may be, and until when.
FOLLOWED, COMPUTED_NS, STEP_NS, STEP_SPENT_NS = 54, 55, 56, 57
STEPS_TO_GO, UNTIL_NS = 58, 59
CONTROL_WORDS = 64

# How a stretch may stop beside `tables.links`' words: it is done, and is not to be over yet.
RESTING = 16
# How a decode loop ends: no packet has come for a while, or on the root so many steps were run; a
# packet of another size begins (what of it was read is in place); a whole one asks for something
# else than one more token.
LEFT, BEGUN, OTHER = 17, 18, 19

IDLE = 0x7FFF  # the operation's number when there is none
OP_SHIFT = 48  # bits of WORD below the operation's number
