"""Where a change sits, in words: on the terminal, and in the report's two languages."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dllama.record.verdict import (
    AttributedPart,
    Attribution,
    Cause,
    CellVerdict,
    MetricVerdict,
    VerdictFile,
)
from pytest_dllama.report.figures.quantities import RCT, SPEED
from pytest_dllama.report.pages.language import environment_of
from pytest_dllama.report.sentences.answer import CauseFound, EffectSits, WorkChanged
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.terminal.attribution import attributed
from pytest_dllama.report.terminal.verdict import explained, verdict_lines

TPOT = next(quantity for quantity in SPEED if quantity.key == "tpot_ms")
WAIT: dict[str, Any] = {
    "phase": "decode", "part": "exchange-wait", "rank": 0, "waited_for": 3, "effect_ms": 0.5,
    "share": 0.92, "change": 0.8, "because_part": "feed-forward", "because_change": 0.31,
}  # fmt: skip


def verdict(*parts: dict[str, Any]) -> MetricVerdict:
    return MetricVerdict(
        metric="tpot_ms", status="REGRESSED", tolerance=0.05, base=10.0, new=10.6, change=0.061,
        lower=0.05, upper=0.07, pairs=3, pair_sd=0.01, detectable_change=None, pairs_to_decide=3,
        is_provisional=False, p_worse=0.01,
        attribution=Attribution(
            metric="tpot_ms", parts=tuple(AttributedPart.model_validate(part) for part in parts)
        ),
    )  # fmt: skip


def rendered(sentence: Sentence, language: str) -> str:
    writer = environment_of(language).globals["writer"]
    return str(writer.piece(sentence))


def test_the_issues_sentence() -> None:
    assert attributed(verdict(WAIT)) == (
        "+6.1% TPOT: 92% of it is waiting for rank 3, whose feed-forward became 31% slower"
    )


def test_the_same_work_of_both_phases_is_told_apart() -> None:
    decoding = WAIT | {"part": "sync", "waited_for": None, "share": 0.81, "change": -0.5}
    filling = decoding | {"phase": "prefill", "share": 0.16, "change": -0.26}
    assert attributed(verdict(decoding, filling)) == (
        "+6.1% TPOT: 81% of it is sync on rank 0 (50% faster), in decode; 16% of it is sync on "
        "rank 0 (26% faster), in prefill"
    )


def test_an_improvement_has_its_interval_and_pairs() -> None:
    found = verdict().model_copy(
        update={"metric": "ttft_s", "status": "IMPROVED", "change": -0.3, "lower": -0.4,
                "upper": -0.2, "tolerance": 0.15}
    )  # fmt: skip
    assert explained(found) == (
        "TTFT -30.0% (-40.0..-20.0), tolerated 15.0%: surely better, by 20.0% or more; 3 pairs, "
        "one varies by 1.0%"
    )
    cell = CellVerdict(model="tiny", nodes=2, status="IMPROVED", metrics=(found,))
    assert f"IMPROVED tiny-2: {explained(found)}" in verdict_lines(verdict_file(cell))


def test_work_of_several_ranks_is_said_before_what_it_causes() -> None:
    own = {"part": "feed-forward", "waited_for": None, "share": 0.2, "change": 0.4}
    found = verdict(WAIT | own, WAIT | {"share": 0.7})
    assert found.attribution is not None
    cause = Cause(
        phase="decode", part="feed-forward", ranks=(0, 1, 3), is_everywhere=False, change=0.4,
        effect_ms=0.1,
    )  # fmt: skip
    told = found.attribution.model_copy(update={"cause": cause})
    assert attributed(found.model_copy(update={"attribution": told})) == (
        "+6.1% TPOT: feed-forward on ranks 0, 1 and 3 became 40% slower: 20% of it is feed-forward "
        "on rank 0 (40% slower); 70% of it is waiting for rank 3, whose feed-forward became 31% "
        "slower"
    )


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (WAIT | {"because_change": -0.3}, "waiting for rank 3, whose feed-forward became 30% fast"),
        (WAIT | {"because_part": None, "because_change": None}, "92% of it is waiting for rank 3"),
        (
            WAIT | {"part": "qkv", "waited_for": None, "change": 0.2},
            "92% of it is qkv on rank 0 (20% slower)",
        ),
        (
            WAIT | {"part": "other", "waited_for": None, "change": None},
            "92% of it is time that no span covers on rank 0",
        ),
    ],
)
def test_other_causes(part: dict[str, Any], words: str) -> None:
    assert words in (attributed(verdict(part)) or "")


def test_work_that_changed_though_its_metric_did_not_is_told() -> None:
    work = Cause(
        phase="decode", part="attention", ranks=(0, 1), is_everywhere=True, change=0.1,
        effect_ms=0.05,
    )  # fmt: skip
    passed = verdict().model_copy(
        update={"status": "PASS", "attribution": None, "changed_work": (work,)}
    )
    cell = CellVerdict(model="tiny", nodes=2, status="PASS", metrics=(passed,))
    lines = verdict_lines(verdict_file(cell))
    assert (
        "WORK tiny-2: attention on every rank became 10% slower, surely: about +0.5% TPOT, which "
        "itself is PASS"
    ) in lines


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((1, 1), "looks at 3 pairs, 1 request a session, each bound at 5.00%"),
        ((3, 3), "looks at 3 pairs, 3 requests a session, each bound at 5.00%"),
        ((1, 3), "looks at 3 pairs, each bound at 5.00%"),
    ],
)
def test_how_many_requests_a_session_had_is_told(counts: tuple[int, ...], words: str) -> None:
    cells = tuple(
        CellVerdict(model="tiny", nodes=2**n, status="PASS", requests=count)
        for n, count in enumerate(counts)
    )
    found = verdict_file(cells[0]).model_copy(update={"cells": cells})
    assert words in verdict_lines(found)[-1]


def verdict_file(cell: CellVerdict) -> VerdictFile:
    return VerdictFile(
        created_utc="2026-04-01T00:00:00Z", wall_s=40.0, baseline="self", base_label="a",
        new_label="b", fingerprint="f", seed=1, looks=(3,), level=0.05, prompt="p", steps=64,
        prior_groups=20, status=cell.status, holm_p={}, cells=(cell,),
    )  # fmt: skip


def test_small_parts_and_no_parts_are_not_told() -> None:
    assert attributed(verdict(WAIT, WAIT | {"share": 0.05})) == attributed(verdict(WAIT))
    assert attributed(verdict(WAIT | {"share": 0.05})) is None
    assert attributed(verdict().model_copy(update={"attribution": None})) is None


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "is waiting for rank 3, whose feed-forward became 31.0% slower"),
        ("ko", "랭크 3을 기다린 시간: 그 랭크의 피드포워드가 31.0% 느려짐"),
    ],
)
def test_the_report_says_it_in_both_languages(language: str, words: str) -> None:
    said = EffectSits("tiny-4", TPOT, "exchange-wait", 0, 0.92, 3, 0.8, "feed-forward", 0.31)
    assert words in rendered(said, language)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "is q, k, v on rank 0 (itself 20.0% slower)"), ("ko", "랭크 0의 q, k, v")],
)
def test_the_roots_own_part_in_both_languages(language: str, words: str) -> None:
    assert words in rendered(EffectSits("tiny-4", TPOT, "qkv", 0, 0.92, None, 0.2), language)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "92.0% of the change in TPOT and 80.0% in RCT is waiting for rank 3"),
        ("ko", "TPOT 변화의 92.0%, RCT 변화의 80.0%가 랭크 3을 기다린 시간"),
    ],
)
def test_several_changes_of_one_cause_are_one_sentence(language: str, words: str) -> None:
    said = EffectSits("tiny-4", TPOT, "exchange-wait", 0, 0.92, 3, None, also=((RCT, 0.8),))
    assert words in rendered(said, language)


EVERYWHERE = CauseFound("tiny-4", "qkv", (0, 1, 2, 3), True, 0.4, also=("logits",))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "tiny-4: q, k, v on every rank became 40.0% slower, as did logits"),
        ("ko", "tiny-4: 모든 랭크의 q, k, v가 40.0% 느려짐 (로짓도 같음)"),
    ],
)
def test_work_of_all_ranks_in_both_languages(language: str, words: str) -> None:
    assert rendered(EVERYWHERE, language).strip() == words


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "tiny-4: surely, feed-forward on ranks 1 and 3 became 5.0% faster; TPOT itself is"),
        ("ko", "tiny-4: 확실히 랭크 1, 3의 피드포워드가 5.0% 빨라짐. TPOT 자체는 통과"),
    ],
)
def test_work_that_changed_too_little_in_both_languages(language: str, words: str) -> None:
    some = CauseFound("tiny-4", "feed-forward", (1, 3), False, -0.05)
    assert rendered(WorkChanged(some, TPOT, "PASS"), language).startswith(words)
