"""One forward pass of a request as a `Step`, and sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from dllama_engine.telemetry.events import request
from dllama_engine.telemetry.events.base import Phase, Top
from dllama_engine.telemetry.step_cost import StepCost
from dllama_engine.wire.frames import OPS
from dllama_engine.wire.trace import LinkTrace


@dataclass(slots=True)  # as `StepCost`
class Step:
    """One forward pass of a request, not to be changed; `end_ns` is when its token was in hand."""

    phase: Phase
    index: int  # within its phase
    pos: int
    n_tokens: int
    cost: StepCost
    end_ns: int
    token_id: int | None = None
    piece: str | None = None
    top: Top | None = None

    def event(self) -> request.Step:
        """As the event stream has it."""
        cost = self.cost
        return request.Step(
            phase=self.phase,
            index=self.index,
            pos=self.pos,
            n_tokens=self.n_tokens,
            start_ns=cost.start_ns,
            end_ns=self.end_ns,
            compute_us=cost.compute_ns / 1e3,
            sync_us=cost.sync_ns / 1e3,
            token_id=self.token_id,
            piece=self.piece,
            top=self.top,
            sync_durations_us=durations_us_by_op(cost.trace),
            links=cost.links.counts(0),
            expected_payload_bytes=cost.expected_payload_bytes,
        )


@dataclass(slots=True)
class Tally:
    """Sums over the steps of a request."""

    trace: LinkTrace
    prefill_ns: int = 0
    decode_ns: int = 0
    n_prefill_tokens: int = 0
    n_prefill_chunks: int = 0
    n_decode_tokens: int = 0
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    pieces: list[str] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Take one more step into account."""
        duration_ns = step.cost.end_ns - step.cost.start_ns
        self.trace.extend(step.cost.trace)
        if step.phase == "prefill":
            self.prefill_ns += duration_ns
            self.n_prefill_tokens += step.n_tokens
            self.n_prefill_chunks += 1
            return
        self.decode_ns += duration_ns
        self.n_decode_tokens += 1
        self.first_token_ns = self.first_token_ns or step.end_ns
        self.last_token_ns = step.end_ns
        self.pieces.append(step.piece or "")


def durations_us_by_op(trace: LinkTrace) -> dict[str, list[float]]:
    """Every operation's duration, by dllama's name of the operation."""
    durations: dict[str, list[float]] = {}
    for kind, duration_ns in zip(trace.kinds, trace.durations_ns, strict=True):
        durations.setdefault(OPS[kind - 1], []).append(duration_ns / 1e3)
    return durations
