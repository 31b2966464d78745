"""Links of which the kernel's own counters tell that something is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class LinkRetransmits(Sentence):
    """A link on which segments had to be sent again; `wireless` is None where nobody knows."""

    cell: str
    rank: int
    peer: int
    interface: str | None
    wireless: bool | None
    share: float
    again: int
    segments: int


@dataclass(frozen=True, slots=True)
class LinkSaturated(Sentence):
    """A rank whose exchanges take about as long as its bytes do at the measured rate."""

    cell: str
    rank: int
    sent_bytes: float  # of a request, in the direction with more
    mbps: float
    bytes_s: float
    exchange_s: float
    share: float


@dataclass(frozen=True, slots=True)
class InterfaceErrors(Sentence):
    """An interface that damaged or dropped packets while the cell ran."""

    cell: str
    rank: int
    interface: str
    packets: int
