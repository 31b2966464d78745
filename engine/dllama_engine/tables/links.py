"""Where things stand in the tables of numbers that Python and compiled code share about links.

All tables are int64 and contiguous. The header of a frame is one number of theirs: on the wire it
is little-endian, as every machine is for which kernels exist.
"""

from __future__ import annotations

HEADER_BYTES = 8  # payload bytes (32 bits), kind (16), number (16)

# The links, (world_size, LINK_WIDTH): a row for each rank, the own one unused.
FD, SEND_SEQUENCE, RECV_SEQUENCE = 0, 1, 2
SENT_BYTES, RECEIVED_BYTES, SENT_MESSAGES, RECEIVED_MESSAGES, BUSY_NS = range(3, 8)  # so far
SEND_HEADER, RECV_HEADER = 8, 9  # of the frames under way, in a line of their own
SENT, TO_SEND, GOT, TO_RECV = range(10, 14)  # bytes of them, header included
DURATION_NS = 14  # until the peer's frames were through; -1 while they are not
POLLED_AT = 15  # which of the peers that are waited for it is; NOTHING if none
HEARD_IN = 16  # the sweep over all peers in which its frame began to come; NOTHING before
# Kept for raw spans: the frame was taken; the peer's began to come, and was whole.
SENT_AT_NS, HEARD_AT_NS, WHOLE_AT_NS = 17, 18, 19
SEND_FROM, RECV_INTO = 20, 21  # where the frames' payloads are
# What was sent of the exchange that is waited for, as the next one may be on its way already: the
# frame's bytes, header included; its number; for raw spans, when it was taken.
OUT_BYTES, OUT_NUMBER, OUT_AT_NS = 22, 23, 24
LINK_WIDTH = 32  # whole cache lines

# The routes of an exchange, (world_size, ROUTE_WIDTH): where each peer's payloads are and how many
# bytes an item of the batch takes; NOTHING is no frame at all, 0 an empty one. A payload begins so
# many bytes an item behind its address: what stands before it grows with the batch.
SEND_AT, SEND_BYTES, RECV_AT, RECV_BYTES, SEND_OFFSET, RECV_OFFSET = range(6)
ROUTE_WIDTH = 6
NOTHING = -1

# The mesh, (MESH_WORDS + 2 * world_size,): the exchange under way; then one word for each peer that
# is waited for (POLLED); then all peers in the order in which they are sent to.
OWN, KIND, UNDER_WAY, START_NS, MOVED_NS, BYTES = range(6)
TROUBLE, ERRNO = 6, 7  # which peer failed, and how; 0 if it closed
TRACE_AT, TRACE_ROWS, TRACE_USED = 8, 9, 10  # records, (TRACE_ROWS, RECORD + world_size)
SPENT_NS = 11  # in operations so far
SCRATCH = 12  # four words: two buffers for a call, or a clock
CALM, CALM_LENGTH = 16, 17  # exchanges to come in which the core is kept; how many, next time
SPANS_AT = 19  # the row of `tables.spans` that time is counted in; 0: it is not counted
WAITED_NS = 20  # of the exchange under way, in which nothing moved
SWEEPS = 21  # over all peers, in it
ENDED_NS = 22  # when the last exchange ended
CROWDED = 23  # whether ranks share cores
AWAITED = 24  # frames to be received in the exchange under way
HISTOGRAMS_AT = 25  # of what waits to be counted there (`tables.histograms`); 0: nothing does
TIMELINE_AT = 26  # the ring of exchanges (`tables.timeline`); 0: none is kept
# An exchange that was posted: its rank computes since then (0: it is here); for how long it did;
# when it last glanced at the links; what it met there that the exchange will end with.
LEFT_NS, HIDDEN_NS, GLANCED_NS, MET = range(27, 31)
# The exchange that was begun last: its routes, and the rest where another one is waited for first
# (IS_NEXT) and only its frames to others are under way.
ROUTES_AT, IS_NEXT, NEXT_KIND, NEXT_START_NS = range(31, 35)
NEXT_LEFT_NS, NEXT_FACTOR, NEXT_BYTES = range(35, 38)  # how many items of the batch; sent
POLLED = 38
MESH_WORDS = POLLED

# A record of the trace: what, when, how long, payload bytes; then each peer's duration or NOTHING.
RECORD_KIND, RECORD_START_NS, RECORD_DURATION_NS, RECORD_BYTES, RECORD = range(5)

# How a call for an exchange ends: done; come again, as nothing moved for a while or a signal came;
# no row left in the trace; a peer that is gone; a frame that is not the expected one.
DONE, AGAIN, FULL, LOST, STRANGE = range(5)
