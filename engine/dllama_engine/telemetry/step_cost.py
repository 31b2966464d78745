"""What one forward pass cost the root."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.wire.trace import LinkTotals, LinkTrace


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one forward pass cost the root."""

    start_ns: int
    end_ns: int
    sync_ns: int
    trace: LinkTrace
    links: LinkTotals
    expected_payload_bytes: int  # of the root's links, by the plan's closed form

    @property
    def compute_ns(self) -> int:
        """Time outside the links."""
        return self.end_ns - self.start_ns - self.sync_ns

    @property
    def sent_bytes(self) -> int:
        """Payload and framing that the root sent."""
        return sum(self.links.sent_bytes) + HEADER_BYTES * sum(self.links.sent_messages)

    @property
    def recv_bytes(self) -> int:
        """Payload and framing that the root received."""
        return sum(self.links.recv_bytes) + HEADER_BYTES * sum(self.links.recv_messages)
