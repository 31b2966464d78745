"""The answer first: verdict, cause, best node count, limit and one picture on one screen."""

from __future__ import annotations

import re

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import OutputStatus, Verdict, Workload
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.terminal.verdict import verdict_lines
from tests.data import REPORTS
from tests.plugin.report.report_runs import (
    cell,
    metric_verdict,
    run,
    verdict,
    waiting_for,
)

SIX = run(
    [cell("tiny", n, [speed, speed + 1, speed + 2]) for n, speed in ((2, 90), (4, 160), (8, 120))]
    + [cell("160m", n, [speed, speed + 1, speed + 2]) for n, speed in ((2, 9), (4, 16), (8, 12))]
)


def _first_screen(markdown: str) -> list[str]:
    return markdown[: markdown.index("\n## ")].splitlines()


def _unfolded(markdown: str) -> list[str]:
    return re.sub(r"(?ms)^<details>.*?^</details>\n", "", markdown).splitlines()


RUNS: list[tuple[RunRecord, VerdictFile | None]] = [
    (SIX, None),
    (SIX, verdict(SIX, "160m-4")),
    (read_run(REPORTS / "two_models.json"), None),
    (read_run(REPORTS / "three_models.json"), None),
    (read_run(REPORTS / "ssh_hosts.json"), None),
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("record", "judged"), RUNS)
def test_the_answer_fits_a_screen(
    record: RunRecord, judged: VerdictFile | None, language: str
) -> None:
    text = render(record, language, judged)
    assert len(_first_screen(text)) <= 25
    assert len(_unfolded(text)) <= 200
    assert text.count("<details>") == text.count("</details>") >= 8
    first = "\n".join(_first_screen(text))
    assert first.count("![") == 1  # one picture


def test_a_regression_is_the_headline_and_its_cause_follows() -> None:
    lines = _first_screen(render(SIX, "en", verdict(SIX, "160m-4")))
    assert lines[0] == "# REGRESSED: 160m-4 is 8.3% slower (TPOT)"
    assert "working tree against main (a1b2c3d): 5 pairs, 5 of 6 cells surely no slower" in lines[2]
    rows = [line for line in lines if line.startswith("| ")]
    assert "| 160m-4 |      5.42 | +8.3% (+7.0 … +9.6) |        5% |" in rows[1]  # worst first
    (why,) = [line for line in lines if line.startswith("- **Why**")]
    assert "160m-4: 91.0% of the change in TPOT is waiting for rank 3" in why
    assert "feed-forward on rank 3" in why
    assert "31.0% slower" in why
    (picture,) = [line for line in lines if line.startswith("![")]
    assert picture.endswith("](pictures/ab.svg)")


@pytest.mark.parametrize(
    ("unchecked", "english", "korean"),
    [
        (2, "# PASS: both cells, no output checked", "# 통과: 구성 2개 모두, 출력 미확인"),
        (1, "# PASS: both cells, 1 output unchecked", "# 통과: 구성 2개 모두, 출력 미확인 1개"),
    ],
)
def test_a_pass_of_unchecked_outputs_says_so(unchecked: int, english: str, korean: str) -> None:
    states: list[OutputStatus] = ["unchecked"] * unchecked + ["identical"] * (2 - unchecked)
    record = run([cell("a", n, [1], output=state) for n, state in zip((2, 4), states, strict=True)])
    assert render(record, "en").splitlines()[0] == english
    assert render(record, "ko").splitlines()[0] == korean


def test_one_cause_of_several_metrics_is_told_once() -> None:
    judged = verdict(SIX, "160m-4")
    slow = next(cell for cell in judged.cells if cell.id == "160m-4")
    both = tuple(
        metric_verdict(name, 8.3, attribution=waiting_for(3).model_copy(update={"metric": name}))
        for name in ("tpot_ms", "rct_s")
    )
    slower = slow.model_copy(update={"metrics": both})
    cells = tuple(slower if cell is slow else cell for cell in judged.cells)
    text = render(SIX, "en", judged.model_copy(update={"cells": cells}))
    (why,) = [line for line in _first_screen(text) if line.startswith("- **Why**")]
    assert "91.0% of the change in TPOT and 91.0% in RCT is waiting for rank 3" in why
    assert why.count("waiting for rank 3") == 1


def test_how_a_side_was_slowed_down_is_told_by_the_title_alone() -> None:
    how = "rank=1:feed-forward=60%"
    label = f"this embedded engine, slowed down on purpose ({how})"
    judged = verdict(SIX).model_copy(update={"new_label": label, "inject": how})
    record = SIX.model_copy(update={"request": SIX.request.model_copy(update={"inject": how})})
    for language, words in (
        ("en", "this embedded engine, slowed down, against main (a1b2c3d): 5 pairs"),
        ("ko", "이 embedded 엔진, 일부러 늦춤 (기준: main (a1b2c3d)): 5쌍"),
    ):
        first = _first_screen(render(record, language, judged))
        assert f"`{how}`" in first[0]
        assert words in first[2]
        assert "\n".join(first).count(how) == 1


def test_the_same_in_korean() -> None:
    lines = _first_screen(render(SIX, "ko", verdict(SIX, "160m-4")))
    assert lines[0] == "# 성능 저하: 160m-4의 TPOT가 8.3% 증가"
    (why,) = [line for line in lines if line.startswith("- **원인**")]
    assert "160m-4: TPOT 변화의 91.0%가 랭크 3을 기다린 시간" in why
    assert "| **저하** |" in "\n".join(lines)


@pytest.mark.parametrize(
    ("cells", "headline"),
    [
        ([cell("a", 2, [1])], "# PASS: 1 cell"),
        ([cell("a", 2, [1]), cell("a", 4, [1])], "# PASS: both cells"),
        (
            [cell("a", 2, [1]), cell("a", 4, [1], verdict=Verdict(status="FAIL"))],
            "# FAIL: a-4, 1 of 2 cells",
        ),
        (
            [cell("a", n, status="failed", verdict=Verdict(status="ERROR")) for n in (2, 4)],
            "# ERROR: both cells",
        ),
        ([cell("a", 2, [1], verdict=None)], "# 1 of 1 cell measured, 0 judged"),
        ([], "# 0 of 0 cells measured, 0 judged"),
    ],
)
def test_without_a_baseline_the_worst_cell_is_the_headline(cells: list, headline: str) -> None:  # type: ignore[type-arg]
    assert render(run(cells), "en").splitlines()[0] == headline


def test_a_wrong_output_outweighs_a_regression() -> None:
    record = run([cell("a", 2, [1]), cell("a", 4, [1], verdict=Verdict(status="INVALID"))])
    assert render(record, "en", verdict(record, "a-2")).startswith("# INVALID: a-4, 1 of 2 cells\n")


def test_nothing_worse_than_the_baseline_is_said() -> None:
    text = render(SIX, "en", verdict(SIX))
    assert text.startswith(
        "# PASS: all 6 cells, no cell slower than main (a1b2c3d) beyond what is tolerated\n"
    )
    assert "Why" not in "\n".join(_first_screen(text))


def test_an_undecided_metric_says_what_would_decide() -> None:
    record = run([cell("a", 2, [1])])
    judged = verdict(record)
    open_ = judged.cells[0].model_copy(
        update={
            "status": "INCONCLUSIVE",
            "metrics": (metric_verdict(percent=4.0, status="INCONCLUSIVE"),),
        }
    )
    text = render(record, "en", judged.model_copy(update={"cells": (open_,)}))
    assert text.startswith("# INCONCLUSIVE: a-2\n")
    assert "1 figure of 1 cell undecided: about 7 pairs would decide the first; a quieter" in text
    assert "| a-2  | tpot_ms | 5.00 ms | 5.20 ms | +4.0% (+2.7 … +5.3) |        5% |" in text
    assert "- **Do**: decide what is open: the same again with `--pairs 5,10`" in text


@pytest.mark.parametrize(
    ("baseline", "inject", "good"),
    [
        ("git:main", "", "main"),
        ("git:HEAD~1", "", None),
        ("git:../other@main", "", None),
        ("option:nthreads=2", "", None),
        ("git:main", "tpot=5%", None),
    ],
)
def test_a_regression_says_how_its_commit_is_found(
    baseline: str, inject: str, good: str | None
) -> None:
    """Where commits lie between the two sides."""
    record = run([cell("a", 2, [1]), cell("a", 4, [1])])
    judged = verdict(record, "a-4", baseline=baseline, inject=inject)
    told = f"`git bisect start HEAD {good}`"
    for language, do in (("en", "Do"), ("ko", "조치")):
        screen = "\n".join(_first_screen(render(record, language, judged)))
        assert (f"- **{do}**: " in screen and told in screen) == (good is not None)
    lines = [line for line in verdict_lines(judged) if line.startswith("NEXT")]
    assert lines == (
        [
            "NEXT whose commit it was: git bisect start HEAD main; git bisect run pytest-dllama "
            "bench --bisect --baseline git:main, and the options of this run"
        ]
        if good
        else []
    )


@pytest.mark.parametrize(
    ("baseline", "base_commit", "new_label", "good"),
    [
        ("git:HEAD~3", "a" * 10, "this engine (bbbbbbbbbb)", "a" * 10),  # another one in each step
        ("git:@~3", "a" * 10, "this engine", "a" * 10),
        ("git:HEAD@{2}", "a" * 10, "this engine", "a" * 10),
        ("git:HEADER", "a" * 10, "this engine (bbbbbbbbbb)", "HEADER"),
        ("git:@^", "a" * 10, "this engine (bbbbbbbbbb)", None),
        ("git:main", "a" * 10, "this engine (aaaaaaaaaa, with uncommitted changes)", None),
    ],
)
def test_the_good_end_of_a_bisection_does_not_move_with_head(
    baseline: str, base_commit: str, new_label: str, good: str | None
) -> None:
    label = f"{baseline[4:]} ({base_commit})"
    record = run([cell("a", 4, [1])])
    judged = verdict(record, "a-4", baseline=baseline, base_label=label, new_label=new_label)
    assert judged.bisected_from == good


@pytest.mark.parametrize(("percent", "option"), [(9.0, ""), (90.0, " --tolerate 45%")])
def test_a_bisection_tolerates_half_of_what_was_found(percent: float, option: str) -> None:
    judged = verdict(run([cell("a", 2, [1])]), baseline="git:main")
    worse = metric_verdict(percent=percent, status="REGRESSED")
    found = judged.cells[0].model_copy(update={"status": "REGRESSED", "metrics": (worse,)})
    lines = verdict_lines(judged.model_copy(update={"cells": (found,)}))
    assert lines[-1].endswith(f"--baseline git:main{option}, and the options of this run")
    judged = judged.model_copy(update={"cells": (found,)})
    assert "NEXT" not in "\n".join(verdict_lines(judged, is_bisecting=True))


@pytest.mark.parametrize(
    ("baseline", "new_label", "is_told"),
    [
        ("git:main", "this engine (aaaaaaaaaa)", True),
        ("git:main", "this engine (aaaaaaaaaa, with uncommitted changes)", False),
        ("git:main", "this engine (bbbbbbbbbb)", False),
        ("self", "this engine (aaaaaaaaaa)", False),
    ],
)
def test_two_sides_of_one_commit_are_told(baseline: str, new_label: str, is_told: bool) -> None:
    judged = verdict(
        run([cell("a", 4, [1])]),
        baseline=baseline, base_label="main (aaaaaaaaaa)", new_label=new_label,
    )  # fmt: skip
    told = "both sides are commit aaaaaaaaaa, without changes: what differs is noise, as with"
    assert any(line.startswith(told) for line in verdict_lines(judged)) == is_told


@pytest.mark.parametrize(
    ("needed", "looks"), [([7], (5, 10)), ([4, 34], (5, 10, 20, 40)), ([7, 60], ()), ([None], ())]
)
def test_more_pairs_are_asked_for_where_they_decide(
    needed: list[int | None], looks: tuple[int, ...]
) -> None:
    judged = verdict(run([cell("a", 2, [1])]))
    metrics = tuple(metric_verdict(status="INCONCLUSIVE", pairs_to_decide=n) for n in needed)
    open_ = judged.cells[0].model_copy(update={"status": "INCONCLUSIVE", "metrics": metrics})
    found = judged.model_copy(update={"cells": (open_,)})
    assert found.further_looks == looks
    told = f"NEXT what is open: the same with --pairs {','.join(map(str, looks))}"
    assert (told in verdict_lines(found)) == bool(looks)


def test_the_metric_that_decides_is_the_one_shown() -> None:
    record = run([cell("a", 2, [1])])
    judged = verdict(record)
    late = metric_verdict("ttft_s", 30.0, tolerance=0.15)
    metrics = (*judged.cells[0].metrics, late)
    worse = judged.cells[0].model_copy(update={"status": "REGRESSED", "metrics": metrics})
    text = render(record, "en", judged.model_copy(update={"cells": (worse,)}))
    assert text.startswith("# REGRESSED: a-2 is 30.0% slower (TTFT)\n")
    assert "| TTFT +30.0% (+28.7 … +31.3) |       15% | **REGRESSED** |" in text


def test_without_a_baseline_the_section_says_so_once() -> None:
    text = render(SIX, "en")
    assert text.count("Not compared with another version: --baseline does that") == 1


def test_the_best_node_count_bears_a_star() -> None:
    text = render(SIX, "en")
    assert "| tiny-4 ★ |" in text
    assert "| tiny-8   |" in text
    assert "### 4 nodes ★ (best for tiny and 160m)" in text
    assert "### 8 nodes\n" in text


def test_cells_of_a_sweep_are_told_apart() -> None:
    loads = [Workload(prompt_tokens=n) for n in (16, 512)]
    record = run([cell("a", n, [n], workload=load) for load in loads for n in (2, 4)])
    text = render(record, "en", verdict(record, "a-4-pp512"))
    assert text.startswith("# REGRESSED: a-4-pp512 is 8.3% slower (TPOT)\n")
    for name in ("a-2-pp16", "a-4-pp16", "a-2-pp512", "a-4-pp512"):
        assert f"| {name} " in text
    assert "### Model a-pp16" in text
    assert "### Model a-pp512" in text


def test_many_cells_are_cut_to_a_screen_and_counted() -> None:
    record = run([cell(f"m{i}", n, [n]) for i in range(6) for n in (2, 4)])
    lines = _first_screen(render(record, "en"))
    assert len(lines) <= 25
    assert "4 more cells are below." in lines
    kept = [line for line in lines if line.startswith("| m")]
    assert sum("★" in line for line in kept) == 6  # the best of each model stay


# --- what limits a cell -----------------------------------------------------------------------


def test_cells_that_failed_alike_are_told_once() -> None:
    cells = [
        cell("tiny", n, status="failed", error=f"worker 127.0.0.1:{n}000 cannot be reached")
        for n in (2, 4, 8)
    ]
    for language, words in (
        ("en", "**tiny** on 2 nodes (and 2 more cells): failed - worker 127.0.0.1:2000"),
        ("ko", "**tiny**, 2대 (그 밖에 구성 2개): 실행 실패 - worker 127.0.0.1:2000"),
    ):
        first = "\n".join(_first_screen(render(run(cells), language)))
        assert words in first
        assert first.count("cannot be reached") == 1


def test_a_large_sweep_stays_readable() -> None:
    loads = [Workload(prompt_tokens=p, output_tokens=o) for p in (16, 64, 512) for o in (8, 32)]
    record = run(
        [cell(m, n, [9 * n], workload=w) for m in ("a", "b") for w in loads for n in (2, 4, 8)]
    )
    text = render(record, "en")
    first = "\n".join(_first_screen(text))
    assert "a vs b · 6 workloads · 2, 4 and 8 nodes" in first
    assert "(72.00 tokens/s to 72.00 tokens/s)" in first
    assert "![Tokens/s by node count (the first 8 of 12): " in first
    assert len(_unfolded(text)) <= 200
    assert sum(line.startswith("| b-8-pp512-tg32 ★") for line in _unfolded(text)) >= 1


def test_notes_beyond_a_few_are_folded_and_none_is_lost() -> None:
    notes = tuple(f"note {name}" for name in "abcdefghijkl")
    text = render(SIX.model_copy(update={"notes": notes}), "en")
    unfolded = "\n".join(_unfolded(text))
    assert unfolded.count("- Note: note ") == 8
    assert "- 4 more notes are below, under the setup" in unfolded
    assert all(f"- {note}\n" in text for note in notes)
