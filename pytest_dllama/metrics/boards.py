"""What computing took on ranks that emulate a board, beside what it takes there."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pytest_dllama.metrics.parts import (
    ATTENTION,
    EXCHANGE_COPY,
    FEED_FORWARD,
    LOGITS,
    OUTPUT_PROJECTION,
    QKV,
)
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.emulation import RankCompute

_COMPUTING = (QKV, ATTENTION, OUTPUT_PROJECTION, FEED_FORWARD, EXCHANGE_COPY, LOGITS)


def computing(
    read: Sequence[int], memory_bps: float | None, samples: Sequence[Sample]
) -> tuple[RankCompute, ...]:
    """What a decoded token's computing took on each rank, and what it takes on the board.

    Args:
        read: bytes of a token, by rank.
        memory_bps: bytes a second of the board's memory; None: none is emulated.
        samples: the repeats; those whose engine told no spans do not count.
    """
    if not memory_bps:
        return ()
    found = []
    for rank, read_bytes in enumerate(read):
        times_ms = [ms for sample in samples if (ms := _decode_ms(sample, rank)) > 0]
        if times_ms:
            set_ms, ms = 1e3 * read_bytes / memory_bps, statistics.median(times_ms)
            found.append(RankCompute(rank=rank, read_bytes=read_bytes, set_ms=set_ms, ms=ms))
    return tuple(found)


def _decode_ms(sample: Sample, rank: int) -> float:
    parts = (part for part in sample.parts if part.phase == "decode" and part.rank == rank)
    return sum(part.ms for part in parts if part.part in _COMPUTING)
