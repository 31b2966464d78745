"""What every event of the stream is, and what several have inside."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

_OLD_PHASES = {"eval": "prefill", "pred": "decode"}


def _phase_of_today(phase: object) -> object:
    return _OLD_PHASES.get(phase, phase) if isinstance(phase, str) else phase


Phase = Annotated[Literal["prefill", "decode"], BeforeValidator(_phase_of_today)]


class EventFormatError(ValueError):
    """A line that should be an event and is not; the message shows the line."""


class BaseEvent(BaseModel):
    """One line of the stream."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    t_ns: int = 0


class Part(BaseModel):
    """What stands inside an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LinkCount(Part):
    """What one socket moved: in one step, or over a request."""

    peer: int
    sent_payload_bytes: int
    sent_framing_bytes: int = 0
    recv_payload_bytes: int
    recv_framing_bytes: int = 0
    sent_messages: int = 0
    recv_messages: int = 0
    busy_us: float | None = None

    @property
    def payload_bytes(self) -> int:
        """Payload in both directions."""
        return self.sent_payload_bytes + self.recv_payload_bytes

    @property
    def framing_bytes(self) -> int:
        """Frame headers in both directions."""
        return self.sent_framing_bytes + self.recv_framing_bytes
