"""Where a rank's time went: int64 (PHASES, span_words(world_size)), nanoseconds so far.

A row is a phase, a word a kind of work; behind them the time in which nothing moved, by the peer
whose message came last. Prefill here is all up to the first token, the step that gives it included.
"""

from __future__ import annotations

PREFILL, DECODE = 0, 1
PHASES = 2

# What the leading thread's operations are of (`operations.KIND`).
QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD, COPY, LOGITS = range(6)
WIRE = 6  # of exchanges: sending, and receiving what is there
EMBEDDING, SAMPLING, DETOKENIZING = 7, 8, 9  # of Python
KINDS = 10
WAITED = KINDS  # by peer, from here on

# As events name them, in the order of the words.
NAMES = (
    *("qkv", "attention", "output-projection", "feed-forward", "exchange-copy", "logits"),
    *("exchange-wire", "embedding", "sampling", "detokenizing"),
)
COMPUTE = tuple(range(WIRE))  # what an operation can be of


def span_words(world_size: int) -> int:
    """Words of a row."""
    return KINDS + world_size
