"""Traces of an engine that prints text only, and of one that tells ids and logits."""

from __future__ import annotations

from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.trace import RequestTrace

# (piece, logit of the best token, logit of the second)
ORACLE = [("On", 20.0, 10.0), ("ce", 20.0, 19.7), (" up", 20.0, 15.0)]


def trace(pieces: list[str], n_input_tokens: int = 6) -> RequestTrace:
    """Of an engine that prints text."""
    steps = tuple(step(i, piece) for i, piece in enumerate(pieces))
    return whole(steps, n_input_tokens)


def oracle() -> RequestTrace:
    """Of our own engine: ids and logits too."""
    steps = (
        step(i, piece).model_copy(update={"token_id": 50 + i, "top": ((50 + i, a), (9, b))})
        for i, (piece, a, b) in enumerate(ORACLE)
    )
    return whole(tuple(steps), 6)


def step(i: int, piece: str) -> Step:
    return Step(
        event="step", phase="decode", index=i, n_tokens=1, start_ns=i, end_ns=i + 1, piece=piece
    )


def whole(steps: tuple[Step, ...], n_input_tokens: int) -> RequestTrace:
    return RequestTrace(
        request=RequestStart(event="request", n_input_tokens=n_input_tokens),
        steps=steps,
        done=Done(event="done", n_input_tokens=n_input_tokens, n_output_tokens=len(steps)),
    )
