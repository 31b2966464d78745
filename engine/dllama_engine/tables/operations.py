"""The table of operations that a forward pass is: what a row holds.

A row is int64 (WIDTH,): the address of the function that does it (`kernels.ops.compiled`), how it
is cut into chunks that any thread may take, and the addresses and sizes of its arrays. All arrays
are contiguous. What the fields from FIRST on mean is written at the function; `program.program`
writes them.
"""

from __future__ import annotations

WIDTH = 32
FUNCTION, ITEMS, ITEMS_A_ROW, GRAIN = 0, 1, 2, 3
# How many larger chunks come first if the batch is one token, and their items; the rest are GRAIN.
LARGE, LARGE_ITEMS = 4, 5
TIMES = 6  # rows of the arrays that a token has: more than one behind a mixture's router
KIND = 7  # what its time is counted as (`tables.spans`)
LANE = 8  # which of the two halves of a batch it works on; 0 where a batch is not cut
ROWS_SHIFT = 9  # 1 << this many rows share the items of a row: a block, the last one may be shorter
FIRST = 10

# In place of a function's address: what the leading thread does itself, between two stretches.
# POST begins the exchange that the next EXCHANGE ends. NEXT_STEP receives the root's next packet;
# NEXT_TOKEN, on the root, takes the most probable token.
EXCHANGE, PAUSE, POST, NEXT_STEP, NEXT_TOKEN = 0, 1, 2, 3, 4
# Of all but PAUSE: the kind of their frames, the tables of `tables.links`, and how many ranks there
# are.
FRAME_KIND, LINKS_AT, MESH_AT, ROUTES_AT, RANKS = range(FIRST, FIRST + 5)
# Of the last two besides: where the packet is (0 on a root without workers), where its x belongs,
# float32 (X_SIZE,); the first operation of a single token; and how many positions there are.
PACKET_AT, X_AT, X_SIZE, FIRST_ROW, POSITIONS = range(FIRST + 5, FIRST + 10)
# Of NEXT_TOKEN besides: the whole logits, float32 (VOCAB,), and the root's own, (OWN_SIZE,), which
# belong to their begin; the model's file and where in it the embeddings begin, a row float32
# (X_SIZE,); bytes (VOCAB,) that are 1 where a row is known to be finite; and where steps are
# written down: `tables.steps`, and the counters of all links after each.
LOGITS_AT, VOCAB, OWN_AT, OWN_SIZE, FILE, FIRST_EMBEDDING, FINITE_AT, STEPS_AT, COUNTERS_AT = range(
    FIRST + 10, FIRST + 19
)
# The packet's head is one int64: the position of its first token, how many there are and of how
# many logits are wanted, 32, 16 and 16 bits from the lowest on. Their x comes behind it.
HEAD_BYTES, TOKENS_SHIFT, LOGITS_SHIFT = 8, 32, 48

IS_Q80, NEEDS_SUMS, NEEDS_FLOATS = 1, 2, 4  # flags of activations
PIECE = 512  # columns of one item of an operation that goes through vectors
MAX_CHUNKS = 0xFFFF  # of one operation

# What each operation reads, int64 (operations, FLOOR_WIDTH): bytes, or picoseconds that a board's
# memory takes for them. Whatever the batch is; for each position of the context; for each expert
# of a mixture that is in use.
FIXED, PER_POSITION, PER_EXPERT = range(3)
FLOOR_WIDTH = 3
