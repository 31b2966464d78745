"""When two cells, or two models, are said to differ, and when nothing is claimed."""

from __future__ import annotations

import pytest

from pytest_dllama.record.cell import (
    Verdict,
)
from pytest_dllama.report.figures.compare import Spread, best, difference
from pytest_dllama.report.figures.quantities import TOKENS_PER_S, TOTAL_BYTES
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.comparison import at_node_count, comparison
from pytest_dllama.report.rules.status import overview
from pytest_dllama.report.sentences.comparison import (
    Ahead,
    BestNodes,
    Incomparable,
    Level,
)
from pytest_dllama.report.sentences.scaling import (
    FasterModel,
    UseNodes,
)
from pytest_dllama.report.sentences.status import CellExcluded
from tests.plugin.report.report_runs import cell, estimate, kinds, network, only, run, view_of


@pytest.mark.parametrize(
    ("first", "base", "spread"),
    [
        ((10, 11, 12), (13, 14), Spread.APART),
        ((10, 11, 13), (13, 14), Spread.OVERLAP),
        ((13, 14), (10, 11, 12), Spread.APART),
        ((10, 20), (11, 12), Spread.OVERLAP),
        ((10,), (20, 21), Spread.UNKNOWN),
    ],
)
def test_ranges_decide(first: tuple[float, ...], base: tuple[float, ...], spread: Spread) -> None:
    assert difference(estimate(*first), estimate(*base)).spread is spread


def test_exact_figures_need_no_repeats() -> None:
    assert not difference(estimate(10), estimate(11), exact=True).tied


def test_percent_is_of_the_base() -> None:
    found = difference(estimate(0.80), estimate(0.39))
    assert found.absolute == pytest.approx(0.41)
    assert found.percent == pytest.approx(105.128, abs=1e-3)


def test_percent_of_nothing_is_missing() -> None:
    assert difference(estimate(1), estimate(0)).percent is None


def test_ties_go_to_fewer_nodes() -> None:
    values = ((2, estimate(99, 100, 101)), (4, estimate(100, 101, 102)), (8, estimate(50, 51, 52)))
    found = best(values, TOKENS_PER_S)
    assert found is not None
    assert (found.nodes, found.tied_with) == (2, (4,))


def test_ahead_everywhere_gives_the_range() -> None:
    view = view_of(cell("a", 2, [20]), cell("b", 2, [10]), cell("a", 4, [30]), cell("b", 4, [10]))
    said = comparison(view, TOKENS_PER_S)[0]
    assert said == Ahead(TOKENS_PER_S, "a", "b", (2, 4), True, 2.0, 3.0)


def test_winners_may_change_with_the_node_count() -> None:
    view = view_of(cell("a", 2, [20]), cell("b", 2, [10]), cell("a", 4, [10]), cell("b", 4, [20]))
    ahead = only(comparison(view, TOKENS_PER_S), Ahead)
    assert [(s.winner, s.nodes, s.everywhere) for s in ahead if isinstance(s, Ahead)] == [
        ("a", (2,), False),
        ("b", (4,), False),
    ]


def test_overlapping_repeats_claim_nothing() -> None:
    view = view_of(cell("a", 2, [10, 11, 12]), cell("b", 2, [12, 12.5, 13]))
    assert comparison(view, TOKENS_PER_S) == [Level(TOKENS_PER_S, "a", "b", (2,), equal=False)]


def test_equal_single_figures_are_called_equal() -> None:
    view = view_of(cell("a", 2, [10]), cell("b", 2, [10]))
    assert comparison(view, TOKENS_PER_S) == [Level(TOKENS_PER_S, "a", "b", (2,), equal=True)]


def test_missing_value_is_not_compared() -> None:
    view = view_of(cell("a", 2, [10]), cell("b", 2))
    assert comparison(view, TOKENS_PER_S) == [Incomparable(TOKENS_PER_S, "a", "b", (2,))]


@pytest.mark.parametrize(
    "spoiled",
    [{"output": "different"}, {"verdict": Verdict(status="INVALID", reasons=("throttled",))}],
)
def test_speed_of_a_wrong_cell_does_not_count(spoiled: dict[str, object]) -> None:
    view = view_of(cell("a", 2, [10]), cell("b", 2, [99], **spoiled))  # type: ignore[arg-type]
    assert kinds(comparison(view, TOKENS_PER_S)) == [Incomparable]
    assert CellExcluded in kinds(overview(view))
    assert FasterModel not in kinds(recommendations(view))


def test_failed_threshold_still_counts_but_is_named() -> None:
    failed = Verdict(status="FAIL", reasons=("too slow",))
    view = view_of(cell("a", 2, [20], verdict=failed), cell("a", 4, [10]))
    assert UseNodes("a", 2, 20, (), failed=True) in recommendations(view)


def test_one_model_is_not_compared() -> None:
    view = view_of(cell("a", 2, [10]), cell("a", 4, [20]))
    assert kinds(comparison(view, TOKENS_PER_S)) == [BestNodes]
    assert at_node_count(view, 2) == []


def test_three_models_compare_with_the_first() -> None:
    view = view_of(*(cell(name, 2, [speed]) for name, speed in (("a", 30), ("b", 20), ("c", 60))))
    ahead = [said for said in comparison(view, TOKENS_PER_S) if isinstance(said, Ahead)]
    assert [(s.winner, s.loser) for s in ahead] == [("a", "b"), ("c", "a")]


def test_one_node_misses_no_network() -> None:
    nets = [network(total_bytes=n) for n in (100, 300)]
    view = view_of(
        cell("a", 1), cell("b", 1), cell("a", 2, network=nets[0]), cell("b", 2, network=nets[1])
    )
    assert kinds(comparison(view, TOTAL_BYTES)) == [Ahead]


def test_all_that_cannot_be_told_from_the_first_are_one_sentence() -> None:
    view = RunView.of(run([cell(name, 2, [1.0, 2.0]) for name in "abcd"]))
    assert comparison(view, TOKENS_PER_S) == [
        Level(TOKENS_PER_S, "a", "b", (2,), equal=False, more=("c", "d"))
    ]
    text = render(view.run, "en")
    assert "between a and any of b, c and d in generation speed on 2 nodes" in text
    assert "2대에서는 a와 b, c, d의 Tokens/s에 반복 편차를 넘는 차이가 없음" in render(
        view.run, "ko"
    )


def test_models_are_compared_at_the_node_count_to_choose() -> None:
    """The fastest median of several alike is not the one that the page recommends."""
    cells = [cell("a", 2, [40, 41, 42]), cell("b", 2, [7, 8, 12]), cell("b", 4, [6, 10, 13])]
    (said,) = [s for s in recommendations(RunView.of(run(cells))) if isinstance(s, FasterModel)]
    assert (said.model, said.nodes, said.other, said.other_nodes) == ("a", 2, "b", 2)
