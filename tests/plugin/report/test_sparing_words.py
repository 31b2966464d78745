"""What a page says once: no zeros, no repeated sentences, no names without end."""

from __future__ import annotations

import pytest

from pytest_dllama.record.cell import CellRecord, Verdict, Workload
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from tests.plugin.report.report_runs import cell, estimate, run, verdict

LONG = "m" * 200
LOADS = [Workload(prompt_tokens=n, output_tokens=32) for n in (16, 64, 256, 512, 1024, 2048)]


def _swept(nodes: int = 2) -> list[CellRecord]:
    figures = {"tpot_ms": estimate(10.0), "sync_share": estimate(0.6)}
    return [cell("tiny", nodes, [100.0], workload=load, metrics=figures) for load in LOADS]


def _folded(text: str) -> str:
    return text.split("<details>", 1)[0]


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", ["Output of 2 cells: 1 identical, 1 unchecked\n", "2 cells, all measured"]),
        ("ko", ["출력 확인: 구성 2개 중 동일 1개, 미확인 1개\n", "구성 2개 모두 측정"]),
    ],
)
def test_of_what_there_is_none_nothing_is_said(language: str, told: list[str]) -> None:
    text = render(run([cell("a", 2, [1]), cell("a", 4, [2], output="unchecked")]), language)
    assert [words for words in told if words not in text] == []


def test_cells_that_failed_are_counted() -> None:
    cells = [cell("a", 2, [1]), cell("a", 4, status="failed"), cell("a", 8, status="skipped")]
    assert "3 cells, 1 measured, 1 failed, 1 skipped\n" in render(run(cells), "en")
    assert "구성 3개 중 측정 1개, 실패 1개, 건너뜀 1개\n" in render(run(cells), "ko")


def test_one_repeat_is_singular() -> None:
    record = run([cell("a", 2, [1])])
    once = record.model_copy(update={"request": record.request.model_copy(update={"repeats": 1})})
    assert " · 1 repeat · " in render(once, "en")


def test_what_holds_of_every_workload_is_said_once() -> None:
    text = _folded(render(run(_swept()), "en"))
    limit = (
        "**Limit now**: tiny-2-pp16-tg32: exchange between nodes (6.00 of 10.0 ms a token, 60.0%)"
    )
    assert f"{limit} (and 5 more like it)\n" in text
    advice = "tiny, 6 workloads: 60.0% of the decode time on 2 nodes is sync"
    assert text.count("of the decode time on 2 nodes is sync") == text.count(advice) == 2
    assert "1 model (tiny) with 6 workloads on 2 nodes: 6 cells, all measured" in text
    assert "All cells ran on 2 nodes: nothing to compare." in text
    assert sum(line.startswith("| tiny-2-pp16-tg32 ") for line in text.splitlines()) == 1


def test_a_sweep_over_node_counts_keeps_its_table() -> None:
    text = _folded(render(run([*_swept(2), *_swept(4)]), "en"))
    assert "nothing to compare" not in text
    assert "| tiny-4-pp2048-tg32" in text


def test_notes_that_differ_in_figures_only_stand_for_each_other() -> None:
    notes = ("a-2: 3 pages were slow.", "a-4: 17 pages were slow.", "Another one.")
    text = render(run([cell("a", 2, [1])]).model_copy(update={"notes": notes}), "en")
    first = "- Note: a-2: 3 pages were slow. (1 more like it: under the setup below)\n"
    assert first in _folded(text)
    assert "a-4" not in _folded(text)
    assert all(f"- {note}\n" in text for note in notes)  # nothing is lost


def test_a_note_of_a_cell_begins_with_the_cell_in_korean() -> None:
    told = (
        "a-8: 52 heads do not divide by 8 nodes, which dllama wants: these figures cannot come "
        "from an unmodified build; taken as reported, not as proven.",
        "a-2: 1.0 GB are told of the worker, whose share of the weights alone is 9.1 GB: it was "
        "read before they were loaded, or they were swapped.",
    )
    text = render(run([cell("a", 2, [1])]).model_copy(update={"notes": told}), "ko")
    assert "- 참고: a-8: 헤드 52개는 노드 8대로 나누어지지 않아" in text
    assert "- 참고: a-2: 워커의 메모리가 1.0 GB로 적혀 있으나" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_without_end_is_shown_by_its_ends(language: str) -> None:
    names = (LONG, LONG + "-q40", LONG + "-q4")
    record = run([cell(name, n, [1.0 * n]) for name in names for n in (2, 4)])
    text = _folded(render(record, language, verdict(record, f"{LONG}-4")))
    assert "m" * 49 not in text
    assert "mmmm-q40-4" in text
    assert "mmmmmm-q4-4" in text
    assert f"{'m' * 35}…{'m' * 12}-4" in text


def test_a_base_of_our_own_is_korean_in_korean() -> None:
    record = run([cell("a", 2, [1])])
    labels = {
        "base_label": "this embedded engine",
        "new_label": "this embedded engine, slowed down on purpose (tpot=10%)",
    }
    text = render(record, "ko", verdict(record, **labels))
    assert "이 embedded 엔진, 일부러 늦춤 (tpot=10%) (기준: 이 embedded 엔진): 5쌍" in text


def test_one_node_is_limited_by_computing_alone_without_figures() -> None:
    record = run([cell("a", 1, [1], metrics={"tpot_ms": estimate(4.0)})])
    assert "- **Limit now**: a-1: computing\n" in render(record, "en")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            "- **Why**: **a** on 4 nodes: failed - no root; **a** on 2 nodes: the measurement was "
            "judged invalid, so its speed does not count (too fast)\n",
        ),
        (
            "ko",
            "- **원인**: **a**, 4대: 실행 실패 - no root; **a**, 2대: 판정이 무효 또는 "
            "오류여서 속도를 인정하지 않음 (too fast)\n",
        ),
    ],
)
def test_why_a_cell_did_not_pass_stands_on_the_first_screen(language: str, words: str) -> None:
    invalid = Verdict(status="INVALID", reasons=("too fast", "and wrong"))
    cells = [cell("a", 2, [1], verdict=invalid), cell("a", 4, status="failed", error="no root")]
    text = render(run(cells), language)
    assert words in text.split("\n## ", 1)[0]
    assert "(too fast; and wrong)" in _folded(text)


def test_one_cell_needs_no_count() -> None:
    record = run([cell("a", 2, status="failed", error="no root")])
    assert render(record, "en").startswith("# ERROR: a-2\n")
    assert render(record, "ko").startswith("# 오류: a-2\n")


def test_imported_figures_with_notes_are_read_with_caution() -> None:
    record = run([cell("a", 2, [1]), cell("a", 4, [2])], host_kind="log")
    noted = record.model_copy(update={"notes": ("Imported.", "a-4: odd.", "a-4: odder.")})
    first = render(noted, "en").split("\n## ", 1)[0]
    assert "**Caution**: 2 notes on figures of 1 of 2 cells that were imported as they" in first
    korean = render(noted, "ko").split("\n## ", 1)[0]
    assert "**주의**: 적힌 그대로 가져온 구성 2개 중 1개의 수치에 참고 사항 2건이 있음" in korean
    assert "Caution" not in render(record, "en").split("\n## ", 1)[0]
