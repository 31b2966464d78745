"""What a request is made of: its steps, and sums over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.telemetry.step_cost import Forward
from dllama_engine.wire.frames import OPS
from dllama_engine.wire.trace import Trace

FinishReason = Literal["steps", "context", "eos"]
Top = tuple[tuple[int, float], tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass of a request; `end_ns` is when its token was in hand."""

    phase: Literal["eval", "pred"]
    index: int  # within its phase
    pos: int
    n_tokens: int
    forward: Forward
    end_ns: int
    token_id: int | None = None
    piece: str | None = None
    top: Top | None = None

    def to_json(self) -> dict[str, Any]:
        """As the event stream has it."""
        forward = self.forward
        return {
            "phase": self.phase,
            "index": self.index,
            "pos": self.pos,
            "n_tokens": self.n_tokens,
            "start_ns": forward.start_ns,
            "end_ns": self.end_ns,
            "compute_us": forward.compute_ns / 1e3,
            "sync_us": forward.sync_ns / 1e3,
            "token_id": self.token_id,
            "piece": self.piece,
            "top": self.top,
            "sync_durations_us": durations_us_by_op(forward.trace),
            "links": forward.links.to_json(0, HEADER_BYTES),
            "expected_payload_bytes": forward.expected_payload_bytes,
        }


@dataclass(slots=True)
class Tally:
    """Sums over the steps of a request."""

    trace: Trace
    eval_ns: int = 0
    pred_ns: int = 0
    n_eval_tokens: int = 0
    n_eval_chunks: int = 0
    n_pred_tokens: int = 0
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    pieces: list[str] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Take one more step into account."""
        duration_ns = step.forward.end_ns - step.forward.start_ns
        self.trace.extend(step.forward.trace)
        if step.phase == "eval":
            self.eval_ns += duration_ns
            self.n_eval_tokens += step.n_tokens
            self.n_eval_chunks += 1
            return
        self.pred_ns += duration_ns
        self.n_pred_tokens += 1
        self.first_token_ns = self.first_token_ns or step.end_ns
        self.last_token_ns = step.end_ns
        self.pieces.append(step.piece or "")


def durations_us_by_op(trace: Trace) -> dict[str, list[float]]:
    """Every operation's duration, by dllama's name of the operation."""
    durations: dict[str, list[float]] = {}
    for kind, duration_ns in zip(trace.kinds, trace.durations_ns, strict=True):
        durations.setdefault(OPS[kind - 1], []).append(duration_ns / 1e3)
    return durations
