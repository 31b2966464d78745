"""The bytes counted on the sockets against the closed form of the shard plan: equal, or a fault.

The payload counted on the root's sockets in every step must equal the closed form, to the byte, and
each link's share of a decode step the plan's figure for that link, in bytes and in messages: a
collective may move another's bytes in other messages. Loading sends each worker the pieces that it
neither maps nor keeps.
"""

from __future__ import annotations

from pytest_dllama.events.request import Step
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import Fault

MAX_LISTED = 3


def wire_faults(trace: RequestTrace, repeat: int) -> list[Fault]:
    """Where the bytes counted on the root's sockets are not those of the closed form."""
    said = [found for step in trace.steps for found in _step_faults(step)]
    said += [found for step in trace.decode_steps for found in _link_faults(trace, step)]
    listed = [_fault(repeat, f"wire: {text}", step) for step, text in said[:MAX_LISTED]]
    if len(said) > MAX_LISTED:
        listed.append(_fault(repeat, f"and {len(said) - MAX_LISTED} more such steps"))
    listed += [_fault(repeat, f"wire: {text}") for text in _load_faults(trace)]
    return listed


def _load_faults(trace: RequestTrace) -> list[str]:
    """What loading sent to each worker: the pieces that it did not have, to the byte."""
    return [
        f"loading sent {share.sent_bytes} payload bytes to rank {share.rank}, the shard plan "
        f"and what that rank has of it ({share.source}) say {share.expected_bytes}"
        for share in (trace.ready.shares if trace.ready else ())
        if share.sent_bytes != share.expected_bytes
    ]


def _fault(repeat: int, text: str, step: int | None = None) -> Fault:
    return Fault(kind="wire", repeat=repeat, step=step, text=f"repeat {repeat}: {text}")


def _step_faults(step: Step) -> list[tuple[int, str]]:
    """Index of the step, and what is wrong with it."""
    counted = sum(link.payload_bytes for link in step.links)
    if step.expected_payload_bytes is None or counted == step.expected_payload_bytes:
        return []
    text = (
        f"{step.phase} step {step.index} moved {counted} payload bytes on the root's links, "
        f"the shard plan says {step.expected_payload_bytes}"
    )
    return [(step.index, text)]


def _link_faults(trace: RequestTrace, step: Step) -> list[tuple[int, str]]:
    """A decode step's links one by one: the sum may be right and a link wrong."""
    if trace.plan is None or not trace.plan.decode_payload_bytes:
        return []
    planned = {(src, dst): of_link for src, dst, *of_link in trace.plan.decode_payload_bytes}
    found = []
    for link in step.links:
        for way, n_bytes, n_messages, key in (
            ("to", link.sent_payload_bytes, link.sent_messages, (0, link.peer)),
            ("from", link.recv_payload_bytes, link.recv_messages, (link.peer, 0)),
        ):
            of_bytes, of_messages = planned.get(key, (0, 0))
            if n_bytes != of_bytes:
                found.append(
                    f"decode step {step.index} moved {n_bytes} payload bytes {way} rank "
                    f"{link.peer}, the shard plan says {of_bytes}"
                )
            if n_messages not in (0, of_messages):  # 0: an engine that counts none
                found.append(
                    f"decode step {step.index} moved {n_messages} messages {way} rank "
                    f"{link.peer}, the shard plan says {of_messages}"
                )
    return [(step.index, text) for text in found]
