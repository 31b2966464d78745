"""Where the workers had their weights of, in the report."""

from __future__ import annotations

from pytest_dllama.record.loading import LoadingRecord, ShareRecord
from pytest_dllama.report.pages.markdown import render
from tests.plugin.report.report_runs import cell, estimate, run

MIB = 1 << 20
SHARES = (
    ShareRecord(rank=1, source="mapped", cached_bytes=0, sent_bytes=0),
    ShareRecord(rank=2, source="cache", cached_bytes=3 * MIB, sent_bytes=0),
    ShareRecord(rank=3, source="cache", cached_bytes=2 * MIB, sent_bytes=1 * MIB),
)


def test_sources_bytes_and_time_of_loading() -> None:
    loaded = cell(
        "a", 4, [1], loading=LoadingRecord(shares=SHARES), metrics={"load_s": estimate(0.5)}
    )
    text = render(run([cell("a", 1, [1]), loaded]), "en")
    assert "### How the weights came to the workers" in text
    assert (
        "| a     |     4 |      1 |            2 |    - |             5.0 |              1.0 |"
        in text
    )
    assert "워커에 가중치가 전달된 방식" in render(run([loaded]), "ko")


def test_an_engine_that_tells_nothing_has_no_table() -> None:
    assert "How the weights came" not in render(run([cell("a", 2, [1])]), "en")
