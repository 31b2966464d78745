"""Events of a request: it begins, each step, it is done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pytest_dllama.events.base import BaseEvent, LinkCount, Phase


class RequestStart(BaseEvent):
    """The clock of the request starts (before tokenizing)."""

    event: Literal["request"]
    n_input_tokens: int
    input_ids: tuple[int, ...] = ()


class Step(BaseEvent):
    """One forward pass: a prefill batch or one decoded token."""

    event: Literal["step"]
    phase: Phase
    index: int
    pos: int = 0
    n_tokens: int
    start_ns: int
    end_ns: int
    compute_us: float | None = None
    sync_us: float | None = None
    token_id: int | None = None
    piece: str | None = None
    top: tuple[tuple[int, float], ...] | None = None  # (token id, logit), best first
    sync_durations_us: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    links: tuple[LinkCount, ...] = ()
    expected_payload_bytes: int | None = None

    @property
    def gave_token(self) -> bool:
        """Whether it generated a token; an engine may tell its text and not its id."""
        return self.token_id is not None or self.piece is not None


class Done(BaseEvent):
    """The request is complete; the engine's own phase times."""

    event: Literal["done"]
    n_input_tokens: int
    n_output_tokens: int
    prefill_s: float | None = None
    decode_s: float | None = None
    unknown: tuple[str, ...] = ()  # figures of a sample that the engine's output cannot tell
    ttft_s: float | None = None
    rct_s: float | None = None
    finish_reason: str | None = None
    text: str | None = None
