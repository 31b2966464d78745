"""Where things stand in the tables of the relay that delays streams between processes.

All tables are int64 and contiguous; times are nanoseconds of the monotonic clock, rates are
picoseconds a byte (0: no limit), positions in rings count all bytes or segments so far.
"""

from __future__ import annotations

# The flows, (flows, FLOW_WIDTH): one direction of one connection each; an unused row has IN_FD -1.
IN_FD, OUT_FD = 0, 1
RING_AT, RING_BYTES, HEAD, TAIL = range(2, 6)  # bytes read and not yet written; a power of two
SEGMENTS_AT, SEGMENTS, SEGMENT_HEAD, SEGMENT_TAIL = range(6, 10)  # what came at once, see below
SOURCE, TARGET = 10, 11  # rows of the nodes
LATENCY_NS, JITTER_NS, LINK_RATE, LINK_FREE_NS = range(12, 16)
LOSS, STALL_NS = 16, 17  # of 2^31 packets so many are lost; what comes behind one waits so long
SEED, DRAWS, LAST_NS = 18, 19, 20  # of the jitter; when the last segment is due
STATE, BLOCKED = 21, 22  # flags, see below; whether the target takes nothing at the moment
READ_AT, WRITE_AT = 23, 24  # where it stands among what is polled; -1: it does not
PASSED_BYTES, PASSED_SEGMENTS, WORST_NS = 25, 26, 27  # so far; the latest that one was written
ALLOWED_NS, LATE_SEGMENTS = 29, 30  # after being due; how many were written later than that
SWITCH = 28  # row of the nodes that is the switch: what passes it is what goes out of it
FLOW_WIDTH = 32  # whole cache lines

# Flags: its source ended; the target knows; an error on either side; Python knows that it is over.
ENDED, CLOSED, BROKEN, TOLD = 1, 2, 4, 8

# A segment: the position behind its last byte, and when that is due. An end of stream has no byte.
SEGMENT_END, SEGMENT_DUE_NS, SEGMENT_WIDTH = 0, 1, 2

# The nodes, (nodes, NODE_WIDTH): what each network port takes a byte, and until when it is busy.
# A switch is one of them, of which only the way out counts.
OUT_RATE, IN_RATE, OUT_FREE_NS, IN_FREE_NS, NODE_WIDTH = range(5)

# The hub, (HUB_WORDS + polled,): the loop's own.
LEAD_NS = 2  # so much earlier than due: what the last hop to the receiver takes
OVERSLEPT_NS = 3  # how late a sleep ends, as learnt
BELL_FD = 4  # readable when Python wants the loop to come back
TROUBLE = 5  # the flow that has ended or broken
SPIN_NS = 6  # at most so long before something is due the core is kept
SCRATCH = 8  # 40 words: a clock, a timeout, a message's header, its buffers and its control data
POLLED = 48  # a word for each descriptor that is polled
HUB_WORDS = POLLED

PACKET_BYTES = 1448  # payload of a TCP segment on Ethernet, with timestamps
CHUNK_BYTES = 16384  # the most that is taken of one flow before the others have their turn

# How the loop returns: Python is wanted; a flow has ended or broken; nothing to do for a while.
BELL, OVER, IDLE = range(3)
