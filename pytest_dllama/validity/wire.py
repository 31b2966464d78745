"""The bytes counted on the sockets against the closed form of the shard plan: equal, or a fault.

The payload counted on the root's sockets in every step must equal the closed form, to the byte, and
each link's share of a decode step the plan's figure for that link.
"""

from __future__ import annotations

from pytest_dllama.events.stream import Step
from pytest_dllama.events.trace import RequestTrace

MAX_LISTED = 3


def wire_faults(trace: RequestTrace) -> list[str]:
    """Where the bytes counted on the root's sockets are not those of the closed form."""
    faults = [fault for step in trace.steps if (fault := _step_fault(step))]
    faults += [fault for step in trace.decode_steps for fault in _link_faults(trace, step)]
    if len(faults) > MAX_LISTED:
        more = len(faults) - MAX_LISTED
        faults = [*faults[:MAX_LISTED], f"and {more} more such steps"]
    return faults


def _step_fault(step: Step) -> str | None:
    counted = sum(link.payload_bytes for link in step.links)
    if step.expected_payload_bytes is None or counted == step.expected_payload_bytes:
        return None
    return (
        f"wire: {step.phase} step {step.index} moved {counted} payload bytes on the root's links, "
        f"the shard plan says {step.expected_payload_bytes}"
    )


def _link_faults(trace: RequestTrace, step: Step) -> list[str]:
    """A decode step's links one by one: the sum may be right and a link wrong."""
    if trace.plan is None or not trace.plan.decode_payload_bytes:
        return []
    planned = {(src, dst): n for src, dst, n, _ in trace.plan.decode_payload_bytes}
    faults = []
    for link in step.links:
        for way, counted, key in (
            ("to", link.sent_payload_bytes, (0, link.peer)),
            ("from", link.recv_payload_bytes, (link.peer, 0)),
        ):
            if counted != planned.get(key, 0):
                faults.append(
                    f"wire: decode step {step.index} moved {counted} payload bytes {way} rank "
                    f"{link.peer}, the shard plan says {planned.get(key, 0)}"
                )
    return faults
