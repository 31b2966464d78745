from __future__ import annotations

from pytest_dllama.record.cell import Estimate, Fault, OutputRecord
from pytest_dllama.verdict.judge import judge
from pytest_dllama.verdict.limits.thresholds_file import marker_thresholds

(LIMIT,) = marker_thresholds({"tpot_ms": 50})
MET = LIMIT.check(Estimate(value=40, minimum=40, maximum=40, n=3))
MISSED = LIMIT.check(Estimate(value=60, minimum=60, maximum=60, n=3))
TIE = OutputRecord(text="x", token_ids=(1,), status="tie", note="a near tie")
WIRE = Fault(kind="wire", repeat=1, step=3, text="repeat 1: wire: one byte more")
SAME = OutputRecord(text="x", token_ids=(1,), status="identical")


def test_an_error_has_no_other_verdict() -> None:
    verdict = judge(error="worker lost", faults=[WIRE], thresholds=[MISSED])
    assert (verdict.status, verdict.reasons) == ("ERROR", ("worker lost",))


def test_validity_comes_before_speed() -> None:
    verdict = judge(faults=[WIRE], thresholds=[MISSED])
    assert (verdict.status, verdict.reasons) == ("INVALID", ("repeat 1: wire: one byte more",))
    assert verdict.faults == (WIRE,)


def test_a_missed_threshold_fails_with_all_its_figures() -> None:
    verdict = judge(output=SAME, thresholds=[MET, MISSED])
    assert verdict.status == "FAIL"
    assert verdict.reasons == (
        "tpot_ms = 60 ms, limit <= 50 ms, 20.0 % beyond (marker [dllama_threshold])",
    )


def test_a_pass_says_what_it_rests_on() -> None:
    assert judge(output=SAME, thresholds=[MET]).reasons == ()
    passed = judge(output=TIE, thresholds=[MET])
    assert (passed.status, passed.reasons) == ("PASS", ("a near tie",))
