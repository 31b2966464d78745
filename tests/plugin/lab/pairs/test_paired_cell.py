"""What two sides must have in common before their times are compared."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.cell import PairedCell
from pytest_dllama.lab.pairs.sessions import Session
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.record.cell import OutputRecord, OutputStatus
from pytest_dllama.record.verdict import MetricVerdict
from tests.plugin.traces_for_tests import decode_step, trace

FAULT = "dllama's own fault: a stale first token"


def _output(status: OutputStatus, tokens: tuple[int, ...], note: str | None = None) -> OutputRecord:
    return OutputRecord(text="la", token_ids=tokens, status=status, note=note)


def _compared(base: OutputRecord, new: OutputRecord) -> PairedCell:
    cell = PairedCell(CellKey("tiny", 2), ("tpot_ms",))
    cell.outputs = {"base": base, "new": new}
    cell.compare_work()
    return cell


def test_the_same_fault_with_the_same_tokens_is_compared() -> None:
    faulty = _output("engine_fault", (1, 2), FAULT)
    cell = _compared(faulty, faulty)
    assert cell.invalid == []
    assert cell.verdict().same_tokens


@pytest.mark.parametrize(
    ("base", "new", "words"),
    [
        (
            _output("identical", (1, 2)),
            _output("engine_fault", (1, 2), FAULT),
            "only new shows a fault of its engine, so the work differs: dllama's own fault",
        ),
        (
            _output("engine_fault", (1, 2), FAULT),
            _output("engine_fault", (1, 2), "another"),
            "the sides show different faults of their engines: base: dllama's own fault",
        ),
        (
            _output("engine_fault", (1, 2), FAULT),
            _output("engine_fault", (1, 3), FAULT),
            "both sides show a fault of the engine, and with other tokens",
        ),
    ],
)
def test_other_faults_are_invalid(base: OutputRecord, new: OutputRecord, words: str) -> None:
    verdict = _compared(base, new).verdict()
    assert verdict.status == "INVALID"
    assert words in verdict.reasons[0]


def _session(*requests: Sequence[int]) -> Session:
    """One session that gave these tokens, request by request."""
    traces = [
        trace([decode_step(i, token, 1_000_000 * (i + 1)) for i, token in enumerate(tokens)])
        for tokens in requests
    ]
    return Session(RequestRun(traces[0], (), (), again=tuple(traces[1:])), ())


def test_one_wrong_request_of_a_session_makes_the_cell_invalid() -> None:
    cell = PairedCell(CellKey("tiny", 2), ("tpot_ms",))
    right, wrong = _output("identical", (1, 2)), _output("different", (1, 9), "parts at token 2")
    cell.note("base", _session((1, 2), (1, 2)), [right, right], is_first=True)
    assert cell.invalid == []
    cell.note("new", _session((1, 2), (1, 9)), [right, wrong], is_first=False)
    assert "new, pair 1: output: parts at token 2" in cell.invalid
    assert any("repeat 2 of 2 gave other tokens than repeat 1" in why for why in cell.invalid)
    assert cell.outputs["new"].status == "different"


def test_one_request_that_did_other_work_makes_the_cell_invalid() -> None:
    cell = PairedCell(CellKey("tiny", 2), ("tpot_ms",))
    right = _output("identical", (1, 2))
    cell.note("base", _session((1, 2), (1, 2)), [right, right], is_first=True)
    cell.note("new", _session((1, 2), (1, 2, 3)), [right, right], is_first=False)
    cell.compare_work()
    assert "the sides did different work: [(7, 2), (7, 3)] tokens in, out" in cell.invalid


def _judged(status: str) -> MetricVerdict:
    return MetricVerdict.model_validate(
        {
            "metric": "tpot_ms", "status": status, "tolerance": 0.05, "base": 1.0, "new": 1.0,
            "change": 0.0, "lower": 0.0, "upper": 0.0, "pairs": 3, "pair_sd": 0.01,
            "detectable_change": 0.1, "pairs_to_decide": None, "is_provisional": True,
            "p_worse": 0.5,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "whole"), [("REGRESSED", "REGRESSED"), ("INCONCLUSIVE", "FAIL"), ("PASS", "FAIL")]
)
def test_a_missed_limit_stands_beside_the_comparison(status: str, whole: str) -> None:
    cell = PairedCell(CellKey("tiny", 2), ("tpot_ms",))
    cell.verdicts = (_judged(status),)
    found = cell.verdict(["tpot_ms = 62.5 ms, limit <= 50 ms"])
    assert found.status == whole
    assert found.reasons == ("tpot_ms = 62.5 ms, limit <= 50 ms",)
    assert found.metrics[0].status == status
