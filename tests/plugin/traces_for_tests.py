"""Hand-made traces for arithmetic whose result can be worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.events.base import LinkCount
from pytest_dllama.events.ranks import Rank
from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.session import Plan, Ready
from pytest_dllama.events.trace import RequestTrace

Top = Sequence[tuple[int, float]]


def link(peer: int, sent_bytes: int, recv_bytes: int, busy_us: float = 0.0) -> LinkCount:
    return LinkCount(
        peer=peer,
        sent_payload_bytes=sent_bytes,
        recv_payload_bytes=recv_bytes,
        sent_framing_bytes=8,
        recv_framing_bytes=8,
        busy_us=busy_us,
    )


def decode_step(
    index: int,
    token_id: int,
    end_ns: int,
    *,
    top: Top | None = None,
    links: Sequence[LinkCount] = (),
    expected_payload_bytes: int | None = None,
    start_ns: int | None = None,
    sync_us: float | None = None,
    durations_us: Sequence[float] = (),
) -> Step:
    return Step(
        event="step",
        phase="decode",
        index=index,
        n_tokens=1,
        start_ns=end_ns - 1_000_000 if start_ns is None else start_ns,
        end_ns=end_ns,
        token_id=token_id,
        piece=f"<{token_id}>",
        top=None if top is None else tuple(top),
        links=tuple(links),
        expected_payload_bytes=expected_payload_bytes,
        sync_us=sync_us,
        sync_durations_us={"SYNC_NODE_SLICES": tuple(durations_us)} if durations_us else {},
    )


def trace(
    steps: Sequence[Step],
    *,
    request_ns: int = 0,
    n_input_tokens: int = 7,
    prefill_ns: Sequence[int] = (),
    plan: Plan | None = None,
    ranks: Sequence[Rank] = (),
) -> RequestTrace:
    """A request whose prefill took one batch of `n_input_tokens - 1`, from and to `prefill_ns`."""
    eval_steps = ()
    if prefill_ns:
        eval_steps = (
            Step(
                event="step",
                phase="prefill",
                index=0,
                n_tokens=n_input_tokens - 1,
                start_ns=prefill_ns[0],
                end_ns=prefill_ns[1],
            ),
        )
    return RequestTrace(
        request=RequestStart(
            event="request",
            t_ns=request_ns,
            n_input_tokens=n_input_tokens,
            input_ids=tuple(range(n_input_tokens)),
        ),
        steps=(*eval_steps, *steps),
        done=Done(event="done", n_input_tokens=n_input_tokens, n_output_tokens=len(steps)),
        plan=plan,
        ready=Ready(event="ready", load_s=1.5),
        ranks=tuple(ranks),
    )


def greedy(tops: Sequence[Top]) -> RequestTrace:
    """A trace whose every token is the best of its two logits."""
    return trace(
        [decode_step(i, top[0][0], (i + 1) * 1_000_000, top=top) for i, top in enumerate(tops)]
    )
