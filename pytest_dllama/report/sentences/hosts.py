"""Hosts and the links between them."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.report.sentences.base import Sentence


@dataclass(frozen=True, slots=True)
class HostKinds(Sentence):
    """What the hosts are, alike ones together."""

    hosts: int
    items: tuple[tuple[str, int, int], ...]  # (kind, cores, hosts)


@dataclass(frozen=True, slots=True)
class SharedMachine(Sentence):
    """Hosts that are one machine."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostThrottled(Sentence):
    """A host that was slowed down while it was measured."""

    host: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostProblem(Sentence):
    """What the preflight found of these hosts; `values` fill the words of `kind`."""

    hosts: tuple[str, ...]
    kind: str
    values: tuple[tuple[str, str], ...]
    refused: bool


@dataclass(frozen=True, slots=True)
class WarmestHost(Sentence):
    """The highest temperature that was seen."""

    host: str
    before_c: float | None
    highest_c: float


@dataclass(frozen=True, slots=True)
class ClockDropped(Sentence):
    """A host whose clock was seen below its highest."""

    host: str
    lowest_mhz: float
    most_mhz: float


@dataclass(frozen=True, slots=True)
class SampleCost(Sentence):
    """What it cost to look at the hosts during the run."""

    samples: int
    dearest_ms: float


@dataclass(frozen=True, slots=True)
class WayBroken(Sentence):
    """Two hosts that cannot talk."""

    source: str
    target: str
    error: str


@dataclass(frozen=True, slots=True)
class LinksMeasured(Sentence):
    """The spread of round trips and bandwidths over all pairs, and the worst pair of each."""

    fastest_ms: float
    slowest_ms: float
    far: str
    least_mbps: float
    most_mbps: float
    narrow: str


@dataclass(frozen=True, slots=True)
class CoolHost(Sentence):
    """A host that was slowed down needs power or cooling first."""

    host: str
