"""The checks of a cell go by the kinds of its faults, never by words in their texts."""

from __future__ import annotations

import pytest

from pytest_dllama.lab.cells import Cell, CheckFailed
from pytest_dllama.record.cell import CellRecord, Fault, OutputRecord, Sample, Verdict
from pytest_dllama.verdict.judge import judge

SAME = OutputRecord(text="x", token_ids=(1,), status="identical")
MISLEADING = Fault(kind="engine", text="the engine says output: and wire: in one sentence")
WIRE = Fault(kind="wire", repeat=1, step=3, text="repeat 1: wire: one byte more")
MORE = Fault(kind="wire", repeat=1, text="repeat 1: and 6 more such steps")
REPEATS = Fault(kind="repeats", repeat=2, text="output: repeat 2 of 3 gave other tokens")


def _cell(*faults: Fault) -> Cell:
    verdict = judge(faults=faults, output=SAME)
    return Cell(CellRecord(model="tiny", nodes=2, status="ok", output=SAME, verdict=verdict))


def test_words_of_another_fault_fail_no_check() -> None:
    cell = _cell(MISLEADING)
    assert cell.record.verdict == Verdict(
        status="INVALID", reasons=(MISLEADING.text,), faults=(MISLEADING,)
    )
    cell.check_output()
    cell.check_wire()


def test_a_wire_fault_fails_the_check_of_the_wire_with_all_its_lines() -> None:
    cell = _cell(WIRE, MORE, REPEATS)
    with pytest.raises(CheckFailed) as failure:
        cell.check_wire()
    assert str(failure.value) == (
        "tiny-2: repeat 1: wire: one byte more\nrepeat 1: and 6 more such steps"
    )


def test_repeats_that_disagree_fail_the_check_of_the_output() -> None:
    with pytest.raises(CheckFailed, match="tiny-2: output: repeat 2 of 3"):
        _cell(WIRE, REPEATS).check_output()


def _alone(n_input: int, n_output: int) -> Cell:
    sample = Sample(
        n_input_tokens=n_input, n_output_tokens=n_output, ttft_s=1.0, tpot_ms=None, rct_s=1.0,
        tokens_per_s=1.0, prefill_tokens=n_input - 1, prefill_s=None, decode_tokens=n_output,
        decode_s=1.0,
    )  # fmt: skip
    return Cell(CellRecord(model="tiny", nodes=1, status="ok", samples=(sample, sample)))


def test_work_that_cannot_have_a_metric_says_why() -> None:
    assert _alone(4, 1).why_without("tpot_ms") == (
        "tiny-1: tpot_ms: a request of one output token has no time per further token"
    )
    assert _alone(1, 4).why_without("prefill_tokens_per_s") == (
        "tiny-1: prefill_tokens_per_s: a prompt of one token has no prefill"
    )
    for cell in (_alone(4, 1), _alone(1, 4)):
        assert cell.why_without("tokens_per_s") is None  # it should have been measured
