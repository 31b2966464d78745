"""The verdict on one cell, with each of its reasons. Validity comes before speed."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import Fault, OutputRecord, ThresholdResult, Verdict
from pytest_dllama.verdict.limits.limit import explain


def judge(
    *,
    error: str | None = None,
    faults: Sequence[Fault] = (),
    output: OutputRecord | None = None,
    thresholds: Sequence[ThresholdResult] = (),
) -> Verdict:
    """ERROR without figures, INVALID when they may not be believed, else FAIL or PASS.

    Args:
        error: why there are no figures.
        faults: what `validity` found wrong.
        output: the output check; "unchecked" is a remark of a PASS, never hidden.
        thresholds: every limit of the cell, met or missed.
    """
    if error is not None:
        return Verdict(status="ERROR", reasons=(error,))
    if faults:
        reasons = tuple(fault.text for fault in faults)
        return Verdict(status="INVALID", reasons=reasons, faults=tuple(faults))
    missed = tuple(explain(result) for result in thresholds if not result.passed)
    if missed:
        return Verdict(status="FAIL", reasons=missed)
    return Verdict(status="PASS", reasons=_remarks(output))


def _remarks(output: OutputRecord | None) -> tuple[str, ...]:
    if output is None or output.status in ("oracle", "identical"):
        return ()
    return (output.note or f"output {output.status}",)
