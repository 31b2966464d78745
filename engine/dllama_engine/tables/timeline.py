"""The last raw spans of a rank: rings of int64 rows, of work and of exchanges.

The first row of a ring is its head: how many were written so far, and for how many there is room.
"""

from __future__ import annotations

WRITTEN, ROOM = 0, 1  # of the head

# Work, (1 + room, SPAN_WIDTH). What goes on with the same kind of work extends the row before.
SPAN_KIND, SPAN_START_NS, SPAN_END_NS = range(3)  # kind: `tables.spans`
SPAN_WIDTH = 3

# Exchanges, (1 + room, exchange_words(world_size)): what, when, and how long nothing moved while
# a message was due that had not begun to come; then some words a peer.
FRAME_KIND, START_NS, END_NS, NOTHING_MOVED_NS = range(4)
PEERS = 4
# Number of the frame to and from the peer, or NOTHING; its payload; when the kernel had taken it;
# when the first of its bytes was read, and when it was whole; whether it began to come last.
SEND_NUMBER, SEND_PAYLOAD, SENT_NS, RECV_NUMBER, RECV_PAYLOAD, HEARD_NS, WHOLE_NS, WAS_LAST = range(
    8
)
PEER_WORDS = 8


def exchange_words(world_size: int) -> int:
    """Words of a row of exchanges."""
    return PEERS + PEER_WORDS * world_size
