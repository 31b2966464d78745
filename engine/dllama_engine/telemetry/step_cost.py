"""What one forward pass cost the root, and a token that compiled code took of its logits."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.arrays import Table
from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.telemetry.events.base import Top
from dllama_engine.wire.trace import LinkTotals, LinkTrace, totals_of


@dataclass(slots=True)  # made between two tokens: a frozen one takes several times as long to make
class StepCost:
    """What one forward pass cost the root; not to be changed."""

    start_ns: int
    end_ns: int
    sync_ns: int
    trace: LinkTrace
    before: Table  # counters of the links (`tables.links`) when it began
    after: Table
    expected_payload_bytes: int  # of the root's links, by the plan's closed form

    @property
    def links(self) -> LinkTotals:
        """What each link moved; worked out when asked for, as that takes longer than to count."""
        return totals_of(self.after) - totals_of(self.before)

    @property
    def compute_ns(self) -> int:
        """Time outside the links."""
        return self.end_ns - self.start_ns - self.sync_ns

    @property
    def sent_bytes(self) -> int:
        """Payload and framing that the root sent."""
        links = self.links
        return sum(links.sent_bytes) + HEADER_BYTES * sum(links.sent_messages)

    @property
    def recv_bytes(self) -> int:
        """Payload and framing that the root received."""
        links = self.links
        return sum(links.recv_bytes) + HEADER_BYTES * sum(links.recv_messages)


@dataclass(slots=True)  # as above
class GreedyToken:
    """A step and the token it gave, not to be changed.

    Attributes:
        token_id: the most probable one.
        top: it and the second one, with their logits.
        cost: of the step.
        end_ns: when the token was in hand.
    """

    token_id: int
    top: Top
    cost: StepCost
    end_ns: int
