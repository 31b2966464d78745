"""Events of loading: how far it is, how each worker came to its weights, all are ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dllama_engine.telemetry.events.base import Event
from dllama_engine.wire.trace import LinkCount

Source = Literal["mapped", "cache", "sent"]


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Connecting or loading goes on."""

    NAME: ClassVar[str] = "progress"

    phase: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class ShareLoad:
    """How a worker came to its weights: the root's file, its own cache, or all of it sent.

    `expected_bytes` is the closed form of `sent_bytes`: the pieces that it did not have.
    """

    rank: int
    source: Source
    cached_bytes: int
    sent_bytes: int
    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """Every rank holds its weights; `links` is what set-up and loading moved over the links."""

    NAME: ClassVar[str] = "ready"

    load_s: float
    links: tuple[LinkCount, ...]
    shares: tuple[ShareLoad, ...] = ()
