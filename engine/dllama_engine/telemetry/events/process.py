"""Events of any process: it gives up, it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dllama_engine.telemetry.events.base import Event


@dataclass(frozen=True, slots=True)
class Error(Event):
    """The process gives up; `rank` is the one that was lost, if that is why."""

    NAME: ClassVar[str] = "error"

    type: str
    message: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class End(Event):
    """The last line of a process."""

    NAME: ClassVar[str] = "end"

    exit_code: int
