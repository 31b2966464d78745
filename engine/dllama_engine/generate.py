"""One request: prefill in batches, decode token by token; yields every step with its times.

Knows nothing of sockets or consoles. Input ids of length P and `steps` give P - 1 prefill tokens
and steps - (P - 1) generated ones, as in dllama: the last prompt token is the first decoded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats
from dllama_engine.errors import RequestError
from dllama_engine.sampler import Sampler
from dllama_engine.step_cost import Forward
from dllama_engine.tables.links import HEADER_BYTES
from dllama_engine.text.tokenizer import StreamDecoder
from dllama_engine.wire.frames import OPS
from dllama_engine.wire.trace import Trace

FinishReason = Literal["steps", "context", "eos"]
Top = tuple[tuple[int, float], tuple[int, float]]


class Forwarder(Protocol):
    """The part of `root.Root` that a request needs."""

    max_seq_len: int

    def forward(self, token_ids: Sequence[int], pos: int, n_logits: int) -> tuple[Floats, Forward]:
        """Logits of the last `n_logits` tokens, and what they cost."""


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


def check_request(n_input_tokens: int, steps: int, seq_len: int) -> None:
    """Refuse what the context or `--steps` cannot hold.

    Raises:
        RequestError: with the sizes.
    """
    if n_input_tokens < 1:
        raise RequestError("the prompt has no tokens; give a --prompt with some text")
    if n_input_tokens > seq_len:
        raise RequestError(
            f"the prompt has {n_input_tokens} tokens, the context holds {seq_len}; "
            "shorten it or raise --max-seq-len up to the model's"
        )
    if n_input_tokens > steps:
        raise RequestError(
            f"the prompt has {n_input_tokens} tokens, more than the {steps} steps asked for; "
            "raise --steps, which counts prompt tokens too"
        )


def prefill(root: Forwarder, token_ids: Sequence[int], pos: int, n_batches: int) -> Iterator[Step]:
    """Run prompt tokens through the model in batches; no logits are computed."""
    for index, first in enumerate(range(0, len(token_ids), n_batches)):
        batch = token_ids[first : first + n_batches]
        _, forward = root.forward(batch, pos + first, 0)
        yield Step("eval", index, pos + first, len(batch), forward, forward.end_ns)


def decode(
    root: Forwarder,
    token_id: int,
    pos: int,
    stop_pos: int,
    sampler: Sampler,
    decoder: StreamDecoder,
    is_end: Callable[[int], bool] = lambda token_id: False,
) -> Iterator[Step]:
    """Generate tokens at `pos`, `pos + 1`, ... up to `stop_pos` or a token that ends it."""
    for index in range(stop_pos - pos):
        logits, forward = root.forward([token_id], pos + index, 1)
        top = top_two(logits[0])
        token_id = sampler.sample(logits[0])
        piece = decoder.push(token_id)
        now_ns = time.perf_counter_ns()
        yield Step("pred", index, pos + index, 1, forward, now_ns, token_id, piece, top)
        if is_end(token_id):
            return


def generate(
    root: Forwarder,
    token_ids: Sequence[int],
    steps: int,
    n_batches: int,
    sampler: Sampler,
    decoder: StreamDecoder,
) -> Iterator[Step]:
    """dllama's inference: all steps of one prompt, from an empty context."""
    n_prefill = len(token_ids) - 1
    yield from prefill(root, token_ids[:n_prefill], 0, n_batches)
    stop_pos = min(steps, root.max_seq_len)
    yield from decode(root, token_ids[-1], n_prefill, stop_pos, sampler, decoder)


def top_two(logits: Floats) -> Top:
    """The two largest logits with their ids.

    >>> top_two(np.array([0.5, 3.0, 2.0], np.float32))
    ((1, 3.0), (2, 2.0))
    """
    first = int(logits.argmax())
    first_value = logits[first]
    logits[first] = -math.inf  # two passes of argmax are many times faster than one partition
    second = int(logits.argmax())
    second_value = logits[second]
    logits[first] = first_value
    return (first, float(first_value)), (second, float(second_value))


def log_probs(logits: Floats, token_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Log probability of each row's token; logits (rows, vocab), ids (rows,)."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    totals = np.log(np.exp(values).sum(axis=1))
    return np.asarray(values[np.arange(len(values)), token_ids] - totals)


def score(
    root: Forwarder, token_ids: Sequence[int], n_batches: int
) -> Iterator[tuple[Step, npt.NDArray[np.float64]]]:
    """Log probability of every token after the first, batch by batch, each batch one step."""
    n_scored = len(token_ids) - 1
    for index, first in enumerate(range(0, n_scored, n_batches)):
        batch = token_ids[first : min(first + n_batches, n_scored)]
        logits, forward = root.forward(batch, first, len(batch))
        targets = np.array(token_ids[first + 1 : first + 1 + len(batch)], np.int64)
        step = Step("eval", index, first, len(batch), forward, time.perf_counter_ns())
        yield step, log_probs(logits, targets)


def durations_us_by_op(trace: Trace) -> dict[str, list[float]]:
    """Every operation's duration, by dllama's name of the operation."""
    durations: dict[str, list[float]] = {}
    for kind, duration_ns in zip(trace.kinds, trace.durations_ns, strict=True):
        durations.setdefault(OPS[kind - 1], []).append(duration_ns / 1e3)
    return durations
