"""The road that measured and imported cells share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.record.cell import CellRecord, RooflineRecord
from pytest_dllama.validity.output import oracle_output
from pytest_dllama.verdict.cell import MeasuredCell, cell_record, failed_cell
from pytest_dllama.verdict.limits.limit import Threshold
from pytest_dllama.verdict.limits.thresholds_file import marker_thresholds
from tests.plugin.traces_for_tests import greedy

RUN = greedy([[(1, 10.0), (2, 5.0)]] * 3)
LIMITS = marker_thresholds({"root_peak_rss_bytes": 9, "rct_s": 9})


def _record(
    limits: Sequence[Threshold] = (),
    cannot_give: Collection[str] = (),
    roofline: RooflineRecord | None = None,
) -> CellRecord:
    samples = [sample_of(RUN)] * 2
    measured = MeasuredCell("tiny", 1, [RUN, RUN], samples, oracle_output(RUN), roofline=roofline)
    return cell_record(measured, limits, cannot_give)


def test_a_limit_without_a_value_is_missed_unless_the_engine_never_tells_it() -> None:
    missed = _record(limits=LIMITS)
    assert missed.verdict is not None
    assert missed.verdict.status == "FAIL"
    assert "root_peak_rss_bytes was not measured" in missed.verdict.reasons[0]
    passed = _record(limits=LIMITS, cannot_give={"root_peak_rss_bytes": "it does not print it"})
    assert passed.verdict is not None
    assert passed.verdict.status == "PASS"
    assert [result.metric for result in passed.thresholds] == ["rct_s"]


def test_a_figure_that_is_told_is_judged_whatever_the_engine_usually_gives() -> None:
    record = _record(limits=LIMITS, cannot_give={"rct_s": "usually not"})
    assert {result.metric for result in record.thresholds} == {"root_peak_rss_bytes", "rct_s"}


def test_a_cell_faster_than_memory_is_invalid() -> None:
    roofline = RooflineRecord(read_bytes=(1,), limit_ms=1e9, floor_ms=1e9)
    record = _record(roofline=roofline)
    assert record.verdict is not None
    assert record.verdict.status == "INVALID"
    assert [fault.kind for fault in record.verdict.faults] == ["roofline", "roofline"]
    assert record.metrics["roofline_share"].value == 1e9 / record.metrics["tpot_ms"].value


def test_a_skipped_cell_has_no_verdict() -> None:
    assert failed_cell("m", 2, "asked for perplexity", skipped=True).verdict is None
    failed = failed_cell("m", 2, "worker 1 is gone", ("logs/a",))
    assert failed.verdict is not None
    assert (failed.status, failed.verdict.status) == ("failed", "ERROR")
