"""Whether a cell's figures may be believed: the right output, and the right bytes on the wire.

Output. The oracle is the run of the same request on one node. With `--sync-mode invariant` token
ids must be equal. In reduce mode every rank rounds its partial sums to the buffer type before they
are added, so logits move a little with the node count and a near tie may go the other way. That is
forgiven where the oracle's two best logits are closer than a tolerance that is *measured on the
pair of runs at hand*:

- Until the two runs part, both computed logits for the very same prefixes. Wherever their two best
  tokens are the same two, the change of the margin (best minus second) is one sample of what
  rounding does to a margin.
- tolerance = SPREAD_FACTOR * rms of these samples, pooled with PRIOR_SAMPLES samples of the buffer
  type's usual rms (so that two runs that part early are judged by what is usual, and two that part
  late by their own spread), and at most the buffer type's cap. Usual rms and cap are shares of the
  largest logit seen.

Measured with this engine on six models (Llama, Qwen 3, Qwen 3 MoE; 2 to 8 layers) at 2, 4 and 8
nodes: q80 rms 0.3 to 1.4 % of the largest logit (median 0.75 %), f32 rms 1.1e-7 to 2.7e-7 of it;
no sample of some 2700 lay beyond 3.4 times its run's rms.

The cell must have chosen one of the oracle's two best. A third token is forgiven only if, besides,
the cell itself had one of those two as its second best, and that within the tolerance too.

Wire. The payload counted on the root's sockets in every step must equal the closed form of the
shard plan, to the byte, and each link's share of a decode step the plan's figure for that link.

Knows nothing of pytest and starts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.events import Step
from pytest_dllama.record import OutputRecord, OutputStatus, TokenAlternative
from pytest_dllama.traces import Trace

SPREAD_FACTOR = 4.0
PRIOR_SAMPLES = 8
# Buffer type -> (usual rms of a margin's change, cap of the tolerance), shares of the largest logit
USUAL_RMS_AND_CAP: dict[str, tuple[float, float]] = {"q80": (0.01, 0.06), "f32": (5e-7, 1e-5)}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The margin under which rounding may turn the choice, and where it comes from."""

    margin: float
    n_samples: int = 0
    rms: float | None = None  # of the margins' changes; None without samples
    is_capped: bool = False

    def __str__(self) -> str:
        if self.margin == 0:
            return "none: this mode must give equal ids"
        spread = "none to measure" if self.rms is None else f"rms {self.rms:.3g}"
        capped = ", capped" if self.is_capped else ""
        return f"{self.margin:.3g} ({spread} on {self.n_samples} equal steps{capped})"


def measure_tolerance(
    oracle: Trace, cell: Trace, n_common: int, buffer_float_type: str, sync_mode: str
) -> Tolerance:
    """The tolerance for one pair of runs whose first `n_common` output tokens agree."""
    if sync_mode == "invariant":
        return Tolerance(0.0)
    pairs = list(zip(oracle.decode_steps, cell.decode_steps, strict=False))[:n_common]
    changes = [change for a, b in pairs if (change := _margin_change(a, b)) is not None]
    largest_logit = _largest_logit(oracle.decode_steps[: n_common + 1])
    usual_rms, cap = (share * largest_logit for share in USUAL_RMS_AND_CAP[buffer_float_type])
    squares = sum(change * change for change in changes)
    pooled = (squares + PRIOR_SAMPLES * usual_rms**2) / (len(changes) + PRIOR_SAMPLES)
    margin = SPREAD_FACTOR * math.sqrt(pooled)
    rms = math.sqrt(squares / len(changes)) if changes else None
    return Tolerance(min(margin, cap), len(changes), rms, margin > cap)


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
    if not oracle.token_ids and not cell.token_ids:
        return _compare_pieces(oracle, cell)
    expected, found = oracle.token_ids, cell.token_ids
    if expected == found:
        return _compared(oracle, cell, "identical")
    if oracle.request.input_ids != cell.request.input_ids:
        note = "the prompt became other token ids than on one node"
        return _compared(oracle, cell, "different", note)
    at = _first_difference(expected, found)
    if at >= min(len(expected), len(found)):
        note = f"{len(found)} output tokens where one node gave {len(expected)}"
        return _compared(oracle, cell, "different", note)
    tolerance = measure_tolerance(oracle, cell, at, buffer_float_type, sync_mode)
    parting = _Parting(at, oracle.decode_steps[at], cell.decode_steps[at], tolerance)
    what = parting.in_words()
    if temperature > 0 and sync_mode != "invariant":
        note = f"{what}; sampled at temperature {temperature:g}, so nothing is proven"
        return _compared(oracle, cell, "unchecked", note, parting.record())
    if parting.is_near_tie():
        note = f"{what}; a near tie: margin {parting.margin():.3g}, tolerance {tolerance}"
        return _compared(oracle, cell, "tie", note, parting.record())
    note = f"{what}; margin {parting.margin():.3g}{parting.unknown()}, tolerance {tolerance}"
    return _compared(oracle, cell, "different", note, parting.record())


def _compare_pieces(oracle: Trace, cell: Trace) -> OutputRecord:
    """By what an engine prints that tells neither ids nor logits."""
    expected, found = oracle.tokens, cell.tokens
    if expected == found:
        return _compared(oracle, cell, "identical", "compared by the printed text")
    if len(expected) != len(found):
        note = f"{len(found)} output tokens where one node gave {len(expected)}"
        return _compared(oracle, cell, "different", note)
    at = _first_difference(expected, found)
    note = (
        f"output token {at + 1} is {found[at]!r} where one node gave {expected[at]!r}; the engine "
        "prints no logits, so a near tie cannot be told from a fault: nothing is proven"
    )
    return _compared(oracle, cell, "unchecked", note)


@dataclass(frozen=True, slots=True)
class _Parting:
    """The first step at which the cell chose another token than the oracle."""

    position: int
    oracle: Step
    cell: Step
    tolerance: Tolerance

    def is_near_tie(self) -> bool:
        """Whether rounding explains the other choice."""
        if self.margin() >= self.tolerance.margin:
            return False
        return self._is_of_two_best() or self._cell_was_undecided_too()

    def margin(self) -> float:
        """Oracle's logit of its best minus that of the cell's choice, or at least its second."""
        logits = dict(self.oracle.top or ())
        worst = min(logits.values(), default=0.0)
        return max(logits.values(), default=0.0) - logits.get(self._chosen(), worst)

    def unknown(self) -> str:
        """A remark when the margin is only a lower bound."""
        return "" if self._is_of_two_best() else " or more (a third token)"

    def _is_of_two_best(self) -> bool:
        return self._chosen() in dict(self.oracle.top or ())

    def _cell_was_undecided_too(self) -> bool:
        """The cell's second best is one of the oracle's two, and close."""
        top = self.cell.top or ()
        if len(top) < 2 or top[1][0] not in dict(self.oracle.top or ()):
            return False
        return top[0][1] - top[1][1] < self.tolerance.margin

    def _chosen(self) -> int:
        return -1 if self.cell.token_id is None else self.cell.token_id

    def in_words(self) -> str:
        """Which token stands where which was expected."""
        return (
            f"output token {self.position + 1} is {self.cell.piece!r} where one node gave "
            f"{self.oracle.piece!r}"
        )

    def record(self) -> TokenAlternative:
        """For the run file."""
        return TokenAlternative(
            position=self.position,
            oracle_token_id=-1 if self.oracle.token_id is None else self.oracle.token_id,
            oracle_piece=self.oracle.piece or "",
            cell_token_id=self._chosen(),
            cell_piece=self.cell.piece or "",
            oracle_margin=self.margin(),
            tolerance=self.tolerance.margin,
        )


def _first_difference(expected: Sequence[object], found: Sequence[object]) -> int:
    pairs = zip(expected, found, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))


def _compared(
    oracle: Trace,
    cell: Trace,
    status: OutputStatus,
    note: str | None = None,
    first_difference: TokenAlternative | None = None,
) -> OutputRecord:
    return OutputRecord(
        text=cell.text,
        token_ids=cell.token_ids,
        status=status,
        oracle_text=oracle.text,
        first_difference=first_difference,
        note=note,
    )


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
    first = traces[0].tokens
    others = [i for i, trace in enumerate(traces, start=1) if trace.tokens != first]
    if not others:
        return []
    listed = ", ".join(map(str, others))
    return [f"output: repeat {listed} of {len(traces)} gave other tokens than repeat 1"]


def faults(traces: Sequence[Trace], output: OutputRecord) -> tuple[str, ...]:
    """Every reason why a cell's figures may not be believed."""
    found = [] if output.status != "different" else [f"output: {output.note}"]
    found += dict.fromkeys(reason for trace in traces for reason in trace.invalid)
    found += repeat_faults(traces)
    for index, trace in enumerate(traces, start=1):
        found += [f"repeat {index}: {fault}" for fault in wire_faults(trace)]
    return tuple(found)


def explain_difference(output: OutputRecord, cell: str) -> str:
    """Why the output fails, with both texts."""
    return f"{cell}: {output.note}\n  one node: {output.oracle_text!r}\n  this one: {output.text!r}"
