"""One request: prefill in batches, decode token by token; yields every step with its times.

Knows nothing of sockets or consoles. Input ids of length P and `steps` give P - 1 prefill tokens
and steps - (P - 1) generated ones, as in dllama: the last prompt token is the first decoded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dllama_engine.arrays import Floats
from dllama_engine.errors import EngineError, RequestError
from dllama_engine.generation.sampler import LogitsError, Sampler, Xorshift
from dllama_engine.generation.steps import Step
from dllama_engine.injection import NOTHING, Injection
from dllama_engine.tables.spans import DETOKENIZING, SAMPLING
from dllama_engine.telemetry.events.base import Top
from dllama_engine.telemetry.step_cost import GreedyToken, StepCost
from dllama_engine.text.tokenizer import StreamDecoder

FILLING_SEED = 12345


class Forwarder(Protocol):
    """The part of a root that a request needs."""

    @property
    def max_seq_len(self) -> int:
        """Positions of the context."""

    def forward(self, token_ids: Sequence[int], pos: int, n_logits: int) -> tuple[Floats, StepCost]:
        """Logits of the last `n_logits` tokens, and what they cost."""

    def decode_greedily(self, token_id: int, pos: int, n_steps: int) -> Iterator[GreedyToken]:
        """Steps that run in a row, each with the most probable token; fewer or none if not able."""

    def count(self, kind: int, start_ns: int, end_ns: int) -> None:
        """Count time of the step under way, by `tables.spans`."""

    def explain(self, error: EngineError) -> EngineError:
        """What is behind logits that cannot be."""


def check_request(
    n_input_tokens: int,
    steps: int,
    seq_len: int,
    first_pos: int = 0,
    *,
    model_seq_len: int | None = None,
) -> None:
    """Refuse what the context or `--steps` cannot hold.

    Args:
        n_input_tokens: of the prompt.
        steps: of the request.
        seq_len: positions of the context.
        first_pos: positions that are taken already.
        model_seq_len: what the model itself has of them, where that may be more.

    Raises:
        RequestError: with the sizes.
    """
    if n_input_tokens < 1:
        raise RequestError("the prompt has no tokens; give a --prompt with some text")
    if first_pos + n_input_tokens > seq_len:
        filled = f"--context-depth fills {first_pos} positions and " if first_pos else ""
        raise RequestError(
            f"{filled}the prompt has {n_input_tokens} tokens, the context holds {seq_len}; "
            f"shorten it{_or_a_longer_context(seq_len, model_seq_len or seq_len)}"
        )
    if n_input_tokens > steps:
        raise RequestError(
            f"the prompt has {n_input_tokens} tokens, more than the {steps} steps asked for; "
            "raise --steps, which counts prompt tokens too"
        )


def _or_a_longer_context(seq_len: int, model_seq_len: int) -> str:
    return f" or raise --max-seq-len, up to {model_seq_len}" if seq_len < model_seq_len else ""


def prefill(root: Forwarder, token_ids: Sequence[int], pos: int, batch_size: int) -> Iterator[Step]:
    """Run prompt tokens through the model in batches; no logits are computed."""
    for index, first in enumerate(range(0, len(token_ids), batch_size)):
        batch = token_ids[first : first + batch_size]
        _, cost = root.forward(batch, pos + first, 0)
        yield Step("prefill", index, pos + first, len(batch), cost, cost.end_ns)


def decode(
    root: Forwarder,
    token_id: int,
    pos: int,
    stop_pos: int,
    sampler: Sampler,
    decoder: StreamDecoder,
    is_end: Callable[[int], bool] | None = None,
    inject: Injection = NOTHING,
    *,
    in_a_row: bool = False,
) -> Iterator[Step]:
    """Generate tokens at `pos`, `pos + 1`, ... up to `stop_pos` or a token that ends it.

    Args:
        root: of a cluster that has seen all before `pos`.
        token_id: what the first step begins with.
        pos: where that stands.
        stop_pos: one past the last.
        sampler: chooses the tokens.
        decoder: makes text of them.
        is_end: whether a token is the last; None: none is.
        inject: delays.
        in_a_row: nobody looks at each token as it comes: they may be told of half a second later.
    """
    goes_on = in_a_row and is_end is None and sampler.is_greedy and not inject.delays_tokens
    now_ns, index = time.perf_counter_ns(), 0
    while pos + index < stop_pos:
        if goes_on and index:  # the first one's step is counted as the prompt's
            first = index
            for token in root.decode_greedily(token_id, pos + index, stop_pos - pos - index):
                token_id = token.token_id
                piece, at = decoder.push(token_id), pos + index
                yield Step(
                    "decode", index, at, 1, token.cost, token.end_ns, token_id, piece, token.top
                )
                index += 1
            if index > first:
                continue
        logits, cost = root.forward([token_id], pos + index, 1)
        top = top_two(logits[0])
        start_ns = time.perf_counter_ns()
        try:
            token_id = sampler.sample(logits[0], top[0][0])
        except LogitsError as error:
            raise root.explain(error) from None
        inject.sampling.wait(start_ns)
        sampled_ns = time.perf_counter_ns()
        piece = decoder.push(token_id)
        root.count(SAMPLING, start_ns, sampled_ns)
        root.count(DETOKENIZING, sampled_ns, time.perf_counter_ns())
        inject.wait_for_token(index, now_ns)
        now_ns = time.perf_counter_ns()
        yield Step("decode", index, pos + index, 1, cost, now_ns, token_id, piece, top)
        index += 1
        if is_end is not None and is_end(token_id):
            return


def generate(
    root: Forwarder,
    token_ids: Sequence[int],
    steps: int,
    batch_size: int,
    sampler: Sampler,
    decoder: StreamDecoder,
    first_pos: int = 0,
    inject: Injection = NOTHING,
    *,
    in_a_row: bool = False,
) -> Iterator[Step]:
    """dllama's inference: all steps of one prompt; positions before `first_pos` are filled."""
    n_prefill = len(token_ids) - 1
    yield from prefill(root, token_ids[:n_prefill], first_pos, batch_size)
    stop_pos = min(first_pos + steps, root.max_seq_len)
    first = first_pos + n_prefill
    yield from decode(
        root, token_ids[-1], first, stop_pos, sampler, decoder, inject=inject, in_a_row=in_a_row
    )


def filling_ids(n_positions: int, n_regular: int) -> list[int]:
    """Token ids that fill a context: regular ones, drawn with a fixed seed, the same every time."""
    random = Xorshift(FILLING_SEED)
    return [random.next_u32() % n_regular for _ in range(n_positions)]


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
    root: Forwarder, token_ids: Sequence[int], batch_size: int
) -> Iterator[tuple[Step, npt.NDArray[np.float64]]]:
    """Log probability of every token after the first, batch by batch, each batch one step."""
    n_scored = len(token_ids) - 1
    for index, first in enumerate(range(0, n_scored, batch_size)):
        batch = token_ids[first : min(first + batch_size, n_scored)]
        logits, cost = root.forward(batch, first, len(batch))
        targets = np.array(token_ids[first + 1 : first + 1 + len(batch)], np.int64)
        step = Step("prefill", index, first, len(batch), cost, time.perf_counter_ns())
        yield step, log_probs(logits, targets)
