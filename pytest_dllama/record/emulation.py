"""Emulated links, as the run file has them: what was asked for, and how well it was kept."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_dllama.record.base import Record


class EmulationRecord(Record):
    """The network that local processes were put on; nothing of it is a real link."""

    text: str  # as asked for: a preset, a file's name
    network: str  # all of it in words, the same for the same network
    seed: int
    lead_us: float | None = None  # messages leave the relay so much earlier, for the last hop
    priority: str | None = None  # of the relay: realtime, raised or normal
    nodes_per_core: float | None = None  # up to which the preset is certified
    board: str | None = None  # that each node emulates; None: it computes as this machine does
    memory_bps: float | None = None  # bytes a second of its memory
    board_source: str | None = None  # who measured that


class RankCompute(Record):
    """What computing took on a rank that emulates a board, against what it takes there."""

    rank: int
    read_bytes: int  # of weights and cache for a token, closed form
    set_ms: float  # a decoded token: those bytes at the rate of the board's memory
    ms: float  # the median over the repeats

    @property
    def off(self) -> float | None:
        """By which share of what was set it took longer; None: nothing was set."""
        off = self.ms / self.set_ms - 1 if self.set_ms > 0 else math.inf
        return off if math.isfinite(off) else None


class LinkAccuracy(Record):
    """One direction between two nodes of a cell, from probes beside its requests."""

    source: int
    target: int
    set_us: float  # one-way delay of a probe: latency, and its bytes at the rate
    n: int  # probes while no request ran
    median_us: float
    p99_us: float
    set_mbps: float | None = None  # None: the rate is not limited
    mbps: float | None = None  # None: not limited, or another link's rate was measured


class CellLinks(Record):
    """How well the links of a cell were kept."""

    links: tuple[LinkAccuracy, ...]
    n_busy: int  # probes while requests ran, over all links
    busy_median_error_us: float | None = None  # achieved minus set
    busy_p99_error_us: float | None = None
    busy_limit_us: float | None = None  # of the median's error: the least over the links
    n_messages: int | None = None  # of the requests themselves, over all links
    n_late: int | None = None  # of them, by more than a median may be off


def furthest_off(found: Iterable[RankCompute]) -> float | None:
    """Of some ranks that of the one furthest from what was set; None: of none it is known."""
    return max((one.off for one in found if one.off is not None), key=abs, default=None)
