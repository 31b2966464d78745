"""Whether a cell's figures may be believed: the right output, and the right bytes on the wire.

Output. The oracle is the run of the same request on one node. With `--sync-mode invariant`, or
when sampling is greedy and the sums are exact, token ids must be equal. In reduce mode every rank
rounds its partial sums to the buffer type before they are added, so logits move a little with the
node count and a near tie may go the other way. That is forgiven only where the oracle's two best
logits are closer than a tolerance which is *measured on the pair of runs at hand*:

- Until the two runs part, both have computed logits for the very same prefixes. Wherever their two
  best tokens are the same two, the difference of the two margins (best minus second) is one sample
  of what rounding does to a margin.
- tolerance = SPREAD_FACTOR * root mean square of those samples, at least the floor and at most the
  cap of the buffer type, both as a share of the largest logit seen. With fewer than MIN_SAMPLES
  samples there is no spread to speak of, and the tolerance is the floor alone.

Wire. The payload counted on the root's sockets in every step must equal the closed form of the
shard plan, to the byte, and each link's share of a decode step the plan's figure for that link.

Knows nothing of pytest and starts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.events import Step
from pytest_dllama.record import OutputRecord, TokenAlternative
from pytest_dllama.traces import Trace

SPREAD_FACTOR = 4.0
MIN_SAMPLES = 8
# Share of the largest logit seen: (floor, cap) of the tolerance. See docs/metrics.md.
TOLERANCE_SHARE: dict[str, tuple[float, float]] = {"f32": (1e-5, 1e-4), "q80": (0.01, 0.05)}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The margin under which rounding may turn the choice, and where it comes from."""

    margin: float
    n_samples: int
    rms: float | None  # of the margins' differences; None without samples
    limited_by: str  # "spread", "floor", "cap" or "exact"

    def __str__(self) -> str:
        if self.limited_by == "exact":
            return "no tolerance: this mode must give equal ids"
        spread = "no spread measured" if self.rms is None else f"rms {self.rms:.3g}"
        return f"{self.margin:.3g} ({self.limited_by}; {spread} over {self.n_samples} steps)"


def measure_tolerance(
    oracle: Trace, cell: Trace, n_common: int, buffer_float_type: str, sync_mode: str
) -> Tolerance:
    """The tolerance for one pair of runs whose first `n_common` output tokens agree."""
    if sync_mode == "invariant":
        return Tolerance(0.0, 0, None, "exact")
    pairs = list(zip(oracle.decode_steps, cell.decode_steps, strict=False))[:n_common]
    deltas = [d for a, b in pairs if (d := _margin_change(a, b)) is not None]
    floor_share, cap_share = TOLERANCE_SHARE[buffer_float_type]
    scale = _largest_logit(oracle.decode_steps[: n_common + 1])
    floor, cap = floor_share * scale, cap_share * scale
    rms = math.sqrt(sum(d * d for d in deltas) / len(deltas)) if deltas else None
    if rms is None or len(deltas) < MIN_SAMPLES or SPREAD_FACTOR * rms <= floor:
        return Tolerance(floor, len(deltas), rms, "floor")
    if SPREAD_FACTOR * rms >= cap:
        return Tolerance(cap, len(deltas), rms, "cap")
    return Tolerance(SPREAD_FACTOR * rms, len(deltas), rms, "spread")


def _margin_change(oracle: Step, cell: Step) -> float | None:
    """How far the same two tokens' margin moved; None where the two best are not the same."""
    if not oracle.top or not cell.top or len(oracle.top) < 2 or len(cell.top) < 2:
        return None
    logits = dict(cell.top)
    (best, best_logit), (second, second_logit) = oracle.top[:2]
    if best not in logits or second not in logits:
        return None
    return (logits[best] - logits[second]) - (best_logit - second_logit)


def _largest_logit(steps: Sequence[Step]) -> float:
    return max((abs(logit) for step in steps for _, logit in step.top or ()), default=0.0)


def oracle_output(trace: Trace) -> OutputRecord:
    """The output of a one-node run, which is right by definition."""
    return OutputRecord(text=trace.text, token_ids=trace.token_ids, status="oracle")


def unchecked_output(trace: Trace, why: str) -> OutputRecord:
    """An output that nothing could be compared with."""
    return OutputRecord(text=trace.text, token_ids=trace.token_ids, status="unchecked", note=why)


def compare_output(
    oracle: Trace,
    cell: Trace,
    *,
    buffer_float_type: str,
    sync_mode: str,
    temperature: float = 0.0,
) -> OutputRecord:
    """Compare a cell's output with the oracle's."""
    expected, found = oracle.token_ids, cell.token_ids
    if expected == found:
        return OutputRecord(
            text=cell.text, token_ids=found, status="identical", oracle_text=oracle.text
        )
    position = _first_difference(expected, found)
    tolerance = measure_tolerance(oracle, cell, position, buffer_float_type, sync_mode)
    if oracle.request.input_ids != cell.request.input_ids:
        return _different(oracle, cell, None, "the prompt became other token ids than the oracle's")
    if position >= min(len(expected), len(found)):
        note = f"{len(found)} output tokens where the oracle has {len(expected)}"
        return _different(oracle, cell, None, note)
    first, known = _alternative(
        oracle.decode_steps[position], cell.decode_steps[position], position, tolerance
    )
    where = f"output token {position + 1}: {first.cell_piece!r} where the oracle has"
    what = f"{where} {first.oracle_piece!r}"
    if temperature > 0 and sync_mode != "invariant":
        note = f"{what}; sampled at temperature {temperature:g}, so nothing is proven"
        return _verdict(oracle, cell, "unchecked", first, note)
    if known and first.oracle_margin < tolerance.margin:
        note = f"{what}; a near tie: margin {first.oracle_margin:.3g}, tolerance {tolerance}"
        return _verdict(oracle, cell, "tie", first, note)
    margin = f"{first.oracle_margin:.3g}" + ("" if known else " or more (not of its two best)")
    return _different(oracle, cell, first, f"{what}; margin {margin}, tolerance {tolerance}")


def _first_difference(expected: Sequence[int], found: Sequence[int]) -> int:
    pairs = zip(expected, found, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))


def _alternative(
    oracle: Step, cell: Step, position: int, tolerance: Tolerance
) -> tuple[TokenAlternative, bool]:
    """Where the runs part, and whether the oracle's margin to the cell's choice is known.

    A choice that is not among the oracle's two best lies at least as far off as the second.
    """
    logits = dict(oracle.top or ())
    chosen = -1 if cell.token_id is None else cell.token_id
    known = chosen in logits
    best = max(logits.values(), default=0.0)
    alternative = TokenAlternative(
        position=position,
        oracle_token_id=-1 if oracle.token_id is None else oracle.token_id,
        oracle_piece=oracle.piece or "",
        cell_token_id=chosen,
        cell_piece=cell.piece or "",
        oracle_margin=best - (logits[chosen] if known else min(logits.values(), default=0.0)),
        tolerance=tolerance.margin,
    )
    return alternative, known


def _verdict(
    oracle: Trace, cell: Trace, status: str, first: TokenAlternative | None, note: str
) -> OutputRecord:
    return OutputRecord.model_validate(
        {
            "text": cell.text,
            "token_ids": cell.token_ids,
            "status": status,
            "oracle_text": oracle.text,
            "first_difference": first,
            "note": note,
        }
    )


def _different(
    oracle: Trace, cell: Trace, first: TokenAlternative | None, note: str
) -> OutputRecord:
    return _verdict(oracle, cell, "different", first, note)


def wire_faults(trace: Trace) -> list[str]:
    """Where the bytes counted on the root's sockets are not those of the closed form."""
    faults = [fault for step in trace.steps if (fault := _step_fault(step))]
    faults += [fault for step in trace.decode_steps for fault in _link_faults(trace, step)]
    if len(faults) > 3:
        faults = [*faults[:3], f"and {len(faults) - 3} more such steps"]
    return faults


def _step_fault(step: Step) -> str | None:
    counted = sum(link.payload_bytes for link in step.links)
    if step.expected_payload_bytes is None or counted == step.expected_payload_bytes:
        return None
    return (
        f"wire: {step.phase} step {step.index} moved {counted} payload bytes on the root's links, "
        f"the shard plan says {step.expected_payload_bytes}"
    )


def _link_faults(trace: Trace, step: Step) -> list[str]:
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


def repeat_faults(traces: Sequence[Trace]) -> list[str]:
    """Repeats of one request on one cluster must give one output."""
    first = traces[0].token_ids
    others = [i for i, trace in enumerate(traces, start=1) if trace.token_ids != first]
    if not others:
        return []
    listed = ", ".join(map(str, others))
    return [f"output: repeat {listed} of {len(traces)} gave other tokens than repeat 1"]


def faults(traces: Sequence[Trace], output: OutputRecord) -> tuple[str, ...]:
    """Every reason why a cell's figures may not be believed."""
    found = [] if output.status != "different" else [f"output: {output.note}"]
    found += repeat_faults(traces)
    for index, trace in enumerate(traces, start=1):
        found += [f"repeat {index}: {fault}" for fault in wire_faults(trace)]
    return tuple(found)


def explain_difference(output: OutputRecord, cell: str) -> str:
    """Why the output fails, with both texts."""
    return f"{cell}: {output.note}\n  one node: {output.oracle_text!r}\n  this one: {output.text!r}"
