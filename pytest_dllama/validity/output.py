"""Whether a cell's figures may be believed: the right output, and the right bytes on the wire.

The oracle is the run of the same request on one node. With `--sync-mode invariant` token ids must
be equal. Else another token is forgiven where the oracle's two best logits are closer than the
measured `tolerance`, and the cell chose one of these two. A third token is forgiven only if,
besides, the cell itself had one of those two as its second best, and that within the tolerance too.

Knows nothing of pytest and starts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.events.request import Step
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import OutputRecord, TokenAlternative
from pytest_dllama.validity.text import compare_text, compared
from pytest_dllama.validity.tolerance import Tolerance, measure_tolerance


def oracle_output(trace: RequestTrace) -> OutputRecord:
    """The output of a one-node run, which is right by definition."""
    return OutputRecord(text=trace.text, token_ids=trace.token_ids, status="oracle")


def unchecked_output(trace: RequestTrace, why: str) -> OutputRecord:
    """An output that nothing could be compared with."""
    return OutputRecord(text=trace.text, token_ids=trace.token_ids, status="unchecked", note=why)


def faulty_output(
    trace: RequestTrace, why: str, oracle: RequestTrace | None = None
) -> OutputRecord:
    """An output that is wrong by a known fault of the engine itself, whatever it says."""
    return OutputRecord(
        text=trace.text,
        token_ids=trace.token_ids,
        status="engine_fault",
        oracle_text=oracle.text if oracle else None,
        note=why,
    )


def compare_output(
    oracle: RequestTrace,
    cell: RequestTrace,
    *,
    buffer_float_type: str,
    sync_mode: str,
    temperature: float = 0.0,
) -> OutputRecord:
    """Compare a cell's output with the oracle's."""
    if not cell.token_ids:
        return compare_text(oracle, cell, buffer_float_type, temperature)
    expected, found = oracle.token_ids, cell.token_ids
    if expected == found:
        return compared(oracle, cell, "identical")
    if oracle.request.input_ids != cell.request.input_ids:
        note = "the prompt became other token ids than on one node"
        return compared(oracle, cell, "different", note)
    at = _first_difference(expected, found)
    if at >= min(len(expected), len(found)):
        note = f"{len(found)} output tokens where one node gave {len(expected)}"
        return compared(oracle, cell, "different", note)
    tolerance = measure_tolerance(oracle, cell, at, buffer_float_type, sync_mode)
    parting = _Divergence(at, oracle.decode_steps[at], cell.decode_steps[at], tolerance)
    what = parting.in_words()
    if temperature > 0 and sync_mode != "invariant":
        note = f"{what}; sampled at temperature {temperature:g}, so nothing is proven"
        return compared(oracle, cell, "unchecked", note, parting.record())
    if parting.is_near_tie():
        note = f"{what}; a near tie: margin {parting.margin():.3g}, tolerance {tolerance}"
        return compared(oracle, cell, "tie", note, parting.record())
    note = f"{what}; margin {parting.margin():.3g}{parting.unknown()}, tolerance {tolerance}"
    return compared(oracle, cell, "different", note, parting.record())


@dataclass(frozen=True, slots=True)
class _Divergence:
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


def explain_difference(output: OutputRecord, cell: str) -> str:
    """Why the output fails, with both texts."""
    return f"{cell}: {output.note}\n  one node: {output.oracle_text!r}\n  this one: {output.text!r}"
