"""Events of a process: how its session comes up, what becomes of it, how it ends."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field

from pytest_dllama.events.base import BaseEvent, Part


class Start(BaseEvent):
    """The process knows what it will run."""

    event: Literal["start"]
    protocol: int | None = None  # number of the stream's vocabulary; older engines tell none
    version: str | None = None
    world_size: int = 1
    cpu: str | None = None
    batch_size: int | None = Field(
        default=None, validation_alias=AliasChoices("batch_size", "n_batches")
    )


class Plan(BaseEvent):
    """How the model is split; one decode step's payload by (source, destination)."""

    event: Literal["plan"]
    decode_payload_bytes: tuple[tuple[int, int, int, int], ...] = ()  # src, dst, bytes, messages


class Collective(BaseEvent):
    """How the nodes exchange, and what `auto` picked."""

    event: Literal["collective"]
    asked: str
    picks: tuple[tuple[int, str], ...]  # from so many tokens on: name
    overlap: str = "off"
    halves_from: int | None = None  # batches of so many tokens go in halves


class Progress(BaseEvent):
    """Connecting or loading goes on."""

    event: Literal["progress"]
    phase: str
    done: float
    total: float
    unit: str = ""


class ShareLoad(Part):
    """How a worker came to its weights; `expected_bytes` is the closed form of `sent_bytes`."""

    rank: int
    source: str  # mapped, cache or sent
    cached_bytes: int
    sent_bytes: int
    expected_bytes: int


class Ready(BaseEvent):
    """Every rank holds its weights."""

    event: Literal["ready"]
    load_s: float | None = None
    shares: tuple[ShareLoad, ...] = ()


class Lost(BaseEvent):
    """A rank was lost, and the engine did not give the request up."""

    event: Literal["lost"]
    rank: int | None = None
    address: str | None = None
    type: str = "EngineError"
    message: str
    remedy: str


class Recovered(BaseEvent):
    """The engine runs again what was run, on a fresh session."""

    event: Literal["recovered"]
    world_size: int
    replayed_steps: int
    took_s: float


class TracePart(BaseEvent):
    """A piece of a trace file for Perfetto: base64 of its zlib stream."""

    event: Literal["trace_part"]
    index: int
    parts: int
    data: str


class Note(BaseEvent):
    """What a reader must know of the figures; an invalid one forbids to believe them."""

    event: Literal["note"]
    text: str
    invalid: bool = False


class Error(BaseEvent):
    """The engine gave up; `message` says what, the value, the limit and the remedy."""

    event: Literal["error"]
    type: str = "EngineError"
    message: str
    rank: int | None = None


class End(BaseEvent):
    """The last line of a process."""

    event: Literal["end"]
    exit_code: int = 0


class Listening(BaseEvent):
    """A worker accepts sessions."""

    event: Literal["listening"]
    host: str
    port: int
    pid: int | None = None
