"""What keeps a cell's figures from being believed, each with its kind."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import Fault, OutputRecord, RooflineRecord, Sample
from pytest_dllama.record.emulation import CellLinks, RankCompute
from pytest_dllama.validity.boards import board_faults
from pytest_dllama.validity.links import link_faults
from pytest_dllama.validity.roofline import roofline_faults
from pytest_dllama.validity.wire import wire_faults


def faults(
    traces: Sequence[RequestTrace],
    output: OutputRecord,
    roofline: RooflineRecord | None = None,
    samples: Sequence[Sample] = (),
    links: CellLinks | None = None,
    computing: Sequence[RankCompute] = (),
) -> tuple[Fault, ...]:
    """Every reason why a cell's figures may not be believed."""
    return (
        *output_faults(output),
        *engine_faults(traces),
        *repeat_faults(traces),
        *(fault for n, trace in enumerate(traces, start=1) for fault in wire_faults(trace, n)),
        *roofline_faults(roofline, samples),
        *link_faults(links),
        *board_faults(computing),
    )


def output_faults(output: OutputRecord) -> list[Fault]:
    """The output check's own finding."""
    if output.status != "different":
        return []
    step = output.first_difference.position if output.first_difference else None
    return [Fault(kind="output", step=step, text=f"output: {output.note}")]


def engine_faults(traces: Sequence[RequestTrace]) -> list[Fault]:
    """What the engine's backend itself says against its figures, each reason once."""
    found = dict.fromkeys(reason for trace in traces for reason in trace.invalid)
    return [Fault(kind="engine", text=reason) for reason in found]


def repeat_faults(traces: Sequence[RequestTrace]) -> list[Fault]:
    """Repeats of one request on one cluster must give one output."""
    first = traces[0].tokens
    others = [i for i, trace in enumerate(traces, start=1) if trace.tokens != first]
    if not others:
        return []
    numbers = ", ".join(map(str, others))
    text = f"output: repeat {numbers} of {len(traces)} gave other tokens than repeat 1"
    picked = [", ".join(map(str, trace.picked)) for trace in traces]  # empty: told what to take
    if other := next((i for i in others if "" != picked[i - 1] != picked[0] != ""), None):
        text = (
            f"output: repeat {numbers} of {len(traces)} gave other tokens than repeat 1; auto is "
            f"the likely cause: {picked[0]} in repeat 1 and {picked[other - 1]} in repeat {other}; "
            "name one of them, as in --collective mesh --overlap off"
        )
    return [Fault(kind="repeats", repeat=others[0] if len(others) == 1 else None, text=text)]
