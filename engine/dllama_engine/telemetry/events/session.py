"""Events of a root's session: what it will run, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from dllama_engine.telemetry.events.base import Event

Remedy = Literal["replay", "shrink"]


@dataclass(frozen=True, slots=True)
class RankAddress:
    """Where a rank is, as the root reaches it; the root itself is "local"."""

    rank: int
    address: str


@dataclass(frozen=True, slots=True)
class Start(Event):
    """The process knows what it will run."""

    NAME: ClassVar[str] = "start"

    protocol: int
    version: str
    argv: list[str]
    mode: str
    model: dict[str, Any]  # path, size_bytes and the header's values
    world_size: int
    buffer_float_type: str
    sync_mode: str
    nthreads: int
    batch_size: int
    max_seq_len: int
    kv_type: str
    cpu: str
    pid: int
    ranks: tuple[RankAddress, ...]


@dataclass(frozen=True, slots=True)
class PlannedRank:
    """What one rank holds: half-open ranges of units, and bytes."""

    rank: int
    heads: tuple[int, int]
    kv_heads: tuple[int, int]
    ffn: tuple[int, int]
    vocab: tuple[int, int]
    weight_bytes: int
    kv_cache_bytes: int
    buffer_bytes: int


@dataclass(frozen=True, slots=True)
class Plan(Event):
    """How the model is split, and what one decoded token moves over each directed link."""

    NAME: ClassVar[str] = "plan"

    ranks: tuple[PlannedRank, ...]
    decode_payload_bytes: tuple[tuple[int, int, int, int], ...]  # src, dst, bytes, messages


@dataclass(frozen=True, slots=True)
class Collective(Event):
    """How nodes exchange; where `auto` was asked for, what was probed and what the model says.

    `picks` are (tokens, name): which collective serves batches from so many tokens on. Costs are a
    round in which each node sends one empty frame, a further message of a node in the same round,
    a round in which all others send to the root or it to them (`fan_us`), and the rate of a node's
    bytes; `predicted_us` is one exchange by each name at each of `sizes`. Batches of `halves_from`
    tokens and more go in halves, one sent while the other is computed; `layer_us` is what the model
    says of a layer of the largest batch: whole, and in halves.
    """

    NAME: ClassVar[str] = "collective"

    asked: str
    picks: tuple[tuple[int, str], ...]
    round_us: float | None
    message_us: float | None
    rate_mbps: float | None
    sizes: tuple[int, ...]
    predicted_us: dict[str, tuple[float, ...]]
    overlap: str = "off"
    halves_from: int | None = None
    layer_us: tuple[float, float] | None = None
    fan_us: float | None = None


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """A rank is lost, and the request is not given up: what is tried first."""

    NAME: ClassVar[str] = "lost"

    rank: int | None
    address: str | None
    type: str
    message: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """A fresh session stands where the lost one stood; the step under way is run again."""

    NAME: ClassVar[str] = "recovered"

    world_size: int
    replayed_steps: int
    took_s: float


@dataclass(frozen=True, slots=True)
class TracePart(Event):
    """A piece of the file that `--trace -` asks for, in order: base64 of its zlib stream."""

    NAME: ClassVar[str] = "trace_part"

    index: int
    parts: int
    data: str
