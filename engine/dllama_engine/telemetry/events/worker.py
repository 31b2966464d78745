"""Events of a worker: it listens, a root comes, a session is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dllama_engine.telemetry.events.base import Event


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """A worker accepts sessions."""

    NAME: ClassVar[str] = "listening"

    host: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class SessionStart(Event):
    """A root has come to a worker."""

    NAME: ClassVar[str] = "session_start"

    peer: str


@dataclass(frozen=True, slots=True)
class SessionEnd(Event):
    """A worker's session is over."""

    NAME: ClassVar[str] = "session_end"

    reason: str
