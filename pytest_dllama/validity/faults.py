"""What keeps a cell's figures from being believed."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import OutputRecord
from pytest_dllama.validity.wire import wire_faults


def repeat_faults(traces: Sequence[RequestTrace]) -> list[str]:
    """Repeats of one request on one cluster must give one output."""
    first = traces[0].tokens
    others = [i for i, trace in enumerate(traces, start=1) if trace.tokens != first]
    if not others:
        return []
    listed = ", ".join(map(str, others))
    return [f"output: repeat {listed} of {len(traces)} gave other tokens than repeat 1"]


def faults(traces: Sequence[RequestTrace], output: OutputRecord) -> tuple[str, ...]:
    """Every reason why a cell's figures may not be believed."""
    found = [] if output.status != "different" else [f"output: {output.note}"]
    found += dict.fromkeys(reason for trace in traces for reason in trace.invalid)
    found += repeat_faults(traces)
    for index, trace in enumerate(traces, start=1):
        found += [f"repeat {index}: {fault}" for fault in wire_faults(trace)]
    return tuple(found)
