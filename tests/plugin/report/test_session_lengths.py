"""How many requests the sessions of pairs had, as the page tells."""

from __future__ import annotations

import pytest

from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.report.pages.markdown import render
from tests.plugin.report.report_runs import cell, metric_verdict, run, verdict


def _sessions(**requests: int) -> list[CellVerdict]:
    return [
        CellVerdict(
            model=model, nodes=2, status="PASS", metrics=(metric_verdict(),), requests=number
        )
        for model, number in requests.items()
    ]


@pytest.mark.parametrize(
    ("requests", "english", "korean"),
    [
        ({"a": 1, "b": 1}, "one a side, of 1 request", "세션의 값은 요청 1회의 값"),
        (
            {"a": 5, "b": 5},
            "one a side, of 5 requests, whose median counts",
            "세션의 값은 요청 5회의 중앙값",
        ),
        (
            {"a": 3, "b": 1},
            "the median of a session's requests counts: 1 request in 1 cell (b-2), 3 requests in "
            "1 cell (a-2)",
            "세션의 값은 요청의 중앙값: 구성 1개에서 1회 (b-2), 구성 1개에서 3회 (a-2)",
        ),
    ],
)
def test_the_page_says_how_many_requests_a_session_had(
    requests: dict[str, int], english: str, korean: str
) -> None:
    record = run([cell(name, 2, [9, 10, 11]) for name in requests])
    judged = verdict(record).model_copy(update={"cells": tuple(_sessions(**requests))})
    for language, words in (("en", english), ("ko", korean)):
        text = render(record, language, judged)
        assert words + "\n" in text.split("\n## ")[5]  # how good is the measurement?
    stored = judged.model_copy(update={"looks": ()})  # against a stored run: no pairs
    assert english not in render(record, "en", stored)
