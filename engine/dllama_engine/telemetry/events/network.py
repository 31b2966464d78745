"""The event of the root's network report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dllama_engine.telemetry.events.base import Event
from dllama_engine.telemetry.network_stats import LinkStats, OpStats


@dataclass(frozen=True, slots=True)
class Network(Event):
    """Statistics over all operations of the root, by link and by kind of operation."""

    NAME: ClassVar[str] = "network"

    links: tuple[LinkStats, ...]
    ops: tuple[OpStats, ...]
