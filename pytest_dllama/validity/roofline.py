"""The memory roofline: no token is decoded faster than its weights and cache can be read.

Ranks work in step, so the machine that takes longest sets the limit. What may stay in a last-level
cache between two tokens need not come from memory: it is left out of the floor, below which a
figure is not believed, and a model that fits the caches has no limit. Knows nothing of pytest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.record.cell import Estimate, Fault, RooflineRecord, Sample
from pytest_dllama.record.hosts import MemoryRecord

QUIET_CPU_SHARE = 0.9  # of a probe whose cores nobody else wanted
MARGIN = 1.25  # of the measured bandwidth: probes scatter, other programs disturb them


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a cluster: which ranks it runs, and what its memory delivers."""

    ranks: tuple[int, ...]
    threads: int  # of each rank, the most
    memory: MemoryRecord

    def is_streaming(self, read_bytes: Sequence[int]) -> bool:
        """Whether its ranks read more for one token than the last-level cache can hold."""
        return self._total(read_bytes) > (self.memory.cache_bytes or 0)

    def _total(self, read_bytes: Sequence[int]) -> int:
        return sum(read_bytes[rank] for rank in self.ranks if rank < len(read_bytes))

    def times_ms(self, read_bytes: Sequence[int]) -> tuple[float, float]:
        """Least time to read a token's bytes: all of them, and those that no cache can hold."""
        parts = [read_bytes[rank] for rank in self.ranks if rank < len(read_bytes)]
        alone, together = self._rate(self.threads), self._rate(self.threads * len(parts))
        all_ms = max(sum(parts) / together, max(parts) / alone) * 1e3
        uncached = max(sum(parts) - (self.memory.cache_bytes or 0), 0)
        return all_ms, uncached / together * 1e3

    def _rate(self, threads: int) -> float:
        """Bytes a second of so many threads, or of the next number that was measured."""
        known = self.memory.bytes_per_s
        enough = [n for n in known if n >= min(threads, self.memory.cores)]
        return known[min(enough, default=max(known))]


def roofline(read_bytes: Sequence[int], machines: Sequence[Machine]) -> RooflineRecord:
    """The limit of a cell whose ranks must read so many bytes a token."""
    read = tuple(read_bytes)
    used = [m for m in machines if any(rank < len(read) for rank in m.ranks)]
    streaming = [machine for machine in used if machine.is_streaming(read)]
    if not streaming:
        return RooflineRecord(read_bytes=read, why_not="cached")
    unknown = [machine.memory for machine in streaming if not machine.memory.bytes_per_s]
    if unknown:
        detail = "; ".join(f"{', '.join(m.hosts)}: {m.why_not}" for m in unknown)
        return RooflineRecord(read_bytes=read, why_not="unmeasured", detail=detail)
    times = [machine.times_ms(read) for machine in streaming]
    limit_ms, floor_ms = (max(column) for column in zip(*times, strict=True))
    if any(machine.memory.is_disturbed for machine in streaming):
        return RooflineRecord(read_bytes=read, limit_ms=limit_ms)  # too uncertain to judge by
    return RooflineRecord(read_bytes=read, limit_ms=limit_ms, floor_ms=floor_ms)


def mean_positions(samples: Sequence[Sample]) -> float:
    """Positions in the cache that a decode step reads, the mean over the steps of a repeat."""
    return (samples[0].n_input_tokens or 0) + samples[0].n_output_tokens / 2


def share(record: RooflineRecord | None, tpot_ms: Estimate | None) -> Estimate | None:
    """The part of each token's time that reading memory explains; above 1 caches have helped."""
    if record is None or record.limit_ms is None or tpot_ms is None or tpot_ms.minimum <= 0:
        return None
    return Estimate(
        value=record.limit_ms / tpot_ms.value,
        minimum=record.limit_ms / tpot_ms.maximum,
        maximum=record.limit_ms / tpot_ms.minimum,
        n=tpot_ms.n,
    )


def is_too_fast(record: RooflineRecord | None, samples: Sequence[Sample]) -> bool:
    """Whether a repeat was faster than memory allows, beyond the margin."""
    return any(_too_fast(record, samples))


def roofline_faults(record: RooflineRecord | None, samples: Sequence[Sample]) -> list[Fault]:
    """Repeats that were faster than memory allows, with the arithmetic."""
    return [
        Fault(
            kind="roofline",
            repeat=number,
            text=f"roofline: repeat {number} took {tpot_ms:.3f} ms a token, and memory alone needs "
            f"{floor_ms:.3f} ms: {total / 1e6:.1f} MB a token, caches left out, at the measured "
            f"bandwidth (margin {MARGIN - 1:.0%}); not every token was computed with every weight",
        )
        for number, tpot_ms, floor_ms, total in _too_fast(record, samples)
    ]


def _too_fast(
    record: RooflineRecord | None, samples: Sequence[Sample]
) -> Iterator[tuple[int, float, float, int]]:
    if record is None or record.floor_ms is None:
        return
    for number, sample in enumerate(samples, start=1):
        if sample.tpot_ms is not None and sample.tpot_ms * MARGIN < record.floor_ms:
            yield number, sample.tpot_ms, record.floor_ms, sum(record.read_bytes)


def merged(first: MemoryRecord, again: Mapping[int, float], cpu_share: float) -> MemoryRecord:
    """Measured twice, the faster counts: whatever else ran can only have slowed a probe."""
    best = {n: max(rate, first.bytes_per_s.get(n, 0.0)) for n, rate in again.items()}
    was_quiet = bool(first.bytes_per_s) and not first.is_disturbed
    disturbed = cpu_share < QUIET_CPU_SHARE and not was_quiet
    return first.model_copy(
        update={"bytes_per_s": best, "is_disturbed": disturbed, "why_not": None}
    )
