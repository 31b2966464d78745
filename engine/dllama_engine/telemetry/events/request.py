"""Events of a request: it begins, each step, it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from dllama_engine.telemetry.events.base import Event, Phase, Top
from dllama_engine.wire.trace import LinkCount

FinishReason = Literal["steps", "context", "eos"]


@dataclass(frozen=True, slots=True)
class Request(Event):
    """The clock of the request starts (before tokenizing)."""

    NAME: ClassVar[str] = "request"

    prompt: str
    n_input_tokens: int
    input_ids: list[int]
    steps: int
    temperature: float
    topp: float
    seed: int


@dataclass(frozen=True, slots=True)
class Step(Event):
    """One forward pass: a prefill batch, or one decoded token, which was in hand at `end_ns`."""

    NAME: ClassVar[str] = "step"

    phase: Phase
    index: int  # within its phase
    pos: int
    n_tokens: int
    start_ns: int
    end_ns: int
    compute_us: float
    sync_us: float
    token_id: int | None
    piece: str | None
    top: Top | None
    sync_durations_us: dict[str, list[float]]  # by operation
    links: tuple[LinkCount, ...]
    expected_payload_bytes: int  # of the root's links, by the plan's closed form


@dataclass(frozen=True, slots=True)
class Done(Event):
    """The request is complete; its own figures, by the definitions of METRICS."""

    NAME: ClassVar[str] = "done"

    n_input_tokens: int
    n_output_tokens: int
    prefill_s: float
    decode_s: float
    ttft_s: float | None
    rct_s: float | None
    finish_reason: FinishReason
    text: str


@dataclass(frozen=True, slots=True)
class Scored(Done):
    """The end of a request that scored a text: a `done` with its perplexity."""

    perplexity: float
    avg_log_prob: float  # natural logarithm, a token
