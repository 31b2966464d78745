"""Histograms of times on a logarithmic scale: int64 (world_size, MEASURES, HISTOGRAM_WORDS).

Buckets as HdrHistogram's: below 2 * PER_OCTAVE nanoseconds one a nanosecond, then PER_OCTAVE of
equal width up to each power of two. The middle of a bucket is less than 1 / (2 * PER_OCTAVE),
0.8 %, away from all in it. The largest time and the sum stand beside, exactly.
"""

from __future__ import annotations

DURATION, WAITING = 0, 1  # of an exchange, until a peer's frame was through; and for that peer
MEASURES = 2

SUM_NS, MAX_NS, FIRST_BUCKET = 0, 1, 2
OCTAVE_BITS = 6
PER_OCTAVE = 1 << OCTAVE_BITS
OCTAVES = 36  # up to 2 ** 41 ns, 36 minutes; longer ones are in the last bucket
BUCKETS = PER_OCTAVE * OCTAVES
HISTOGRAM_WORDS = FIRST_BUCKET + BUCKETS

# Exchanges that are not counted yet, int64 (ROWS_AT + room * (PEER_TIMES + world_size),): to count
# touches memory all over the histograms, which would be fetched anew in every exchange.
USED, ROOM, RANKS, TABLE_AT = range(4)  # rows written, and room for them; the histograms' address
ROWS_AT = 8
# A row: how long each peer that came last was waited for; then, by peer, twice the duration, one
# more where it came last, or NOTHING where no frame was due.
WAITED_EACH_NS, PEER_TIMES = 0, 1
