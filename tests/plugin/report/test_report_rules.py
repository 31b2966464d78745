"""What the report says, and does not say, for given figures."""

from __future__ import annotations

import re
from itertools import permutations

import pytest

from pytest_dllama.record.cell import (
    CellRecord,
    Commands,
    Estimate,
    RankRecord,
    ThresholdResult,
    TokenAlternative,
    Verdict,
)
from pytest_dllama.record.network import OpStats
from pytest_dllama.report.figures.cell_detail import percentiles
from pytest_dllama.report.figures.compare import Spread, best, difference
from pytest_dllama.report.figures.quantities import SYNC_SHARE, TOKENS_PER_S, TOTAL_BYTES
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.comparison import at_node_count, comparison, conclusion, steps
from pytest_dllama.report.rules.findings import knees
from pytest_dllama.report.rules.resources import memory, variance, wire
from pytest_dllama.report.rules.status import overview, shared_cores, thresholds
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.comparison import (
    Ahead,
    BestNodes,
    Incomparable,
    Level,
    NothingCounts,
)
from pytest_dllama.report.sentences.resources import (
    MemoryChange,
    OpGrowth,
    StepAttribution,
    VarianceSeen,
    WireChecked,
    WireMismatch,
)
from pytest_dllama.report.sentences.scaling import (
    AvoidNodes,
    CheckLinks,
    CheckOutput,
    FasterModel,
    FewerNodes,
    FixCell,
    FixOutput,
    Knee,
    MoreRepeats,
    NoKnee,
    Plateau,
    ReduceSync,
    UseNodes,
)
from pytest_dllama.report.sentences.status import CellExcluded, SharedCores, ThresholdMissed
from pytest_dllama.report.terminal.summary import summary_lines
from tests.plugin.report.report_runs import cell, estimate, network, run


def _view(*cells: CellRecord, node_counts: tuple[int, ...] = ()) -> RunView:
    return RunView.of(run(cells, node_counts))


def _kinds(said: list[Sentence]) -> list[type[Sentence]]:
    return [type(sentence) for sentence in said]


def _only(said: list[Sentence], kind: type[Sentence]) -> list[Sentence]:
    return [sentence for sentence in said if isinstance(sentence, kind)]


# --- differences -------------------------------------------------------------------------------


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


# --- model against model -------------------------------------------------------------------------


def test_ahead_everywhere_gives_the_range() -> None:
    view = _view(cell("a", 2, [20]), cell("b", 2, [10]), cell("a", 4, [30]), cell("b", 4, [10]))
    said = comparison(view, TOKENS_PER_S)[0]
    assert said == Ahead(TOKENS_PER_S, "a", "b", (2, 4), True, 2.0, 3.0)


def test_winners_may_change_with_the_node_count() -> None:
    view = _view(cell("a", 2, [20]), cell("b", 2, [10]), cell("a", 4, [10]), cell("b", 4, [20]))
    ahead = _only(comparison(view, TOKENS_PER_S), Ahead)
    assert [(s.winner, s.nodes, s.everywhere) for s in ahead if isinstance(s, Ahead)] == [
        ("a", (2,), False),
        ("b", (4,), False),
    ]


def test_overlapping_repeats_claim_nothing() -> None:
    view = _view(cell("a", 2, [10, 11, 12]), cell("b", 2, [12, 12.5, 13]))
    assert comparison(view, TOKENS_PER_S) == [Level(TOKENS_PER_S, "a", "b", (2,), equal=False)]


def test_equal_single_figures_are_called_equal() -> None:
    view = _view(cell("a", 2, [10]), cell("b", 2, [10]))
    assert comparison(view, TOKENS_PER_S) == [Level(TOKENS_PER_S, "a", "b", (2,), equal=True)]


def test_missing_value_is_not_compared() -> None:
    view = _view(cell("a", 2, [10]), cell("b", 2))
    assert comparison(view, TOKENS_PER_S) == [Incomparable(TOKENS_PER_S, "a", "b", (2,))]


@pytest.mark.parametrize(
    "spoiled",
    [{"output": "different"}, {"verdict": Verdict(status="INVALID", reasons=("throttled",))}],
)
def test_speed_of_a_wrong_cell_does_not_count(spoiled: dict[str, object]) -> None:
    view = _view(cell("a", 2, [10]), cell("b", 2, [99], **spoiled))  # type: ignore[arg-type]
    assert _kinds(comparison(view, TOKENS_PER_S)) == [Incomparable]
    assert CellExcluded in _kinds(overview(view))
    assert FasterModel not in _kinds(recommendations(view))


def test_failed_threshold_still_counts_but_is_named() -> None:
    failed = Verdict(status="FAIL", reasons=("too slow",))
    view = _view(cell("a", 2, [20], verdict=failed), cell("a", 4, [10]))
    assert UseNodes("a", 2, 20, (), failed=True) in recommendations(view)


def test_one_model_is_not_compared() -> None:
    view = _view(cell("a", 2, [10]), cell("a", 4, [20]))
    assert _kinds(comparison(view, TOKENS_PER_S)) == [BestNodes]
    assert at_node_count(view, 2) == []


def test_three_models_compare_with_the_first() -> None:
    view = _view(*(cell(name, 2, [speed]) for name, speed in (("a", 30), ("b", 20), ("c", 60))))
    ahead = [said for said in comparison(view, TOKENS_PER_S) if isinstance(said, Ahead)]
    assert [(s.winner, s.loser) for s in ahead] == [("a", "b"), ("c", "a")]


def test_one_node_misses_no_network() -> None:
    nets = [network(total_bytes=n) for n in (100, 300)]
    view = _view(
        cell("a", 1), cell("b", 1), cell("a", 2, network=nets[0]), cell("b", 2, network=nets[1])
    )
    assert _kinds(comparison(view, TOTAL_BYTES)) == [Ahead]


# --- scaling -------------------------------------------------------------------------------------


def test_most_is_the_one_that_degrades_more() -> None:
    view = _view(
        cell("13b", 4, [0.83]),
        cell("13b", 8, [0.31]),
        cell("30b", 4, [0.44]),
        cell("30b", 8, [0.18]),
    )
    (step,) = steps(view, TOKENS_PER_S)
    assert [round(item.percent, 1) for item in step.items] == [-62.7, -59.1]
    assert step.most == "13b"


def test_most_needs_more_than_the_spread() -> None:
    slow, fast = [99, 100, 101], [198, 201, 204]
    view = _view(
        cell("a", 2, slow), cell("a", 4, fast), cell("b", 2, slow), cell("b", 4, [197, 200, 203])
    )
    (step,) = steps(view, TOKENS_PER_S)
    assert step.most is None


def test_most_needs_one_direction() -> None:
    view = _view(cell("a", 2, [1]), cell("a", 4, [2]), cell("b", 2, [2]), cell("b", 4, [1]))
    assert steps(view, TOKENS_PER_S)[0].most is None


def test_knee_says_where_and_why() -> None:
    def root(compute_s: float, sync_s: float) -> tuple[RankRecord, ...]:
        values = {name: None for name in RankRecord.model_fields}
        known = {"rank": 0, "role": "root", "address": "-", "hostname": "h"}
        return (RankRecord(**{**values, **known, "compute_s": compute_s, "sync_s": sync_s}),)

    def ops(avg_ms: float) -> tuple[OpStats, ...]:
        values = {"p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
        return (OpStats(op="SYNC_LOGITS", operations=9, bytes=1, avg_ms=avg_ms, **values),)

    view = _view(
        cell("a", 2, [10], ranks=root(2.0, 1.0), network=network(ops=ops(1.0))),
        cell("a", 4, [20], ranks=root(1.0, 1.5), network=network(ops=ops(2.0))),
        cell("a", 8, [15], ranks=root(0.5, 3.0), network=network(ops=ops(5.0))),
    )
    assert knees(view) == [
        Knee("a", 4, 8, -25.0, 20, 15),
        StepAttribution("a", 4, 8, -0.5, 1.5),
        OpGrowth("a", "SYNC_LOGITS", 4, 8, 2.0, 5.0),
    ]


def test_no_knee_while_it_gets_faster() -> None:
    view = _view(cell("a", 2, [10]), cell("a", 4, [15]))
    assert knees(view) == [NoKnee("a", 2, 4, 50.0)]


def test_plateau_within_the_spread() -> None:
    view = _view(cell("a", 2, [99, 100, 101]), cell("a", 4, [100, 101, 102]))
    assert knees(view) == [Plateau("a", 2, 4)]


def test_order_of_cells_and_node_counts_does_not_matter() -> None:
    cells = [cell("a", 2, [10]), cell("a", 4, [20]), cell("a", 8, [15])]
    said = {str(knees(_view(*order, node_counts=(8, 2, 4)))) for order in permutations(cells)}
    assert len(said) == 1


def test_one_node_count_has_no_scaling() -> None:
    text = render(run([cell("a", 2, [10])]), "en")
    assert text.startswith("# PASS: 1 cell\n")
    assert "## Scaling" not in text
    assert "best on" not in text


def test_conclusion_without_any_figure() -> None:
    view = _view(cell("a", 2, status="failed", error="lost"), cell("a", 4, [1]))
    assert conclusion(view, 2) == [NothingCounts(2)]


# --- recommendations -----------------------------------------------------------------------------


def test_recommendations_follow_the_figures() -> None:
    view = _view(cell("a", 2, [96]), cell("a", 4, [100]), cell("a", 8, [50]))
    assert recommendations(view) == [
        UseNodes("a", 4, 100, (), failed=False),
        FewerNodes("a", 2, 4, pytest.approx(96.0)),
        AvoidNodes("a", 8, 4, pytest.approx(-50.0)),
    ]


def test_slow_small_cluster_is_not_recommended() -> None:
    view = _view(cell("a", 2, [50]), cell("a", 4, [100]))
    assert FewerNodes not in _kinds(recommendations(view))


def test_repairs_come_first() -> None:
    view = _view(
        cell("a", 2, status="failed", error="lost"),
        cell("a", 4, [1], output="different"),
        cell("a", 8, [1], output="unchecked"),
    )
    assert recommendations(view)[:3] == [FixCell("a", 2), FixOutput("a", 4), CheckOutput(1)]


def test_single_repeat_is_a_caveat() -> None:
    view = RunView.of(run([cell("a", 2, [1])], repeats=1))
    assert recommendations(view) == [MoreRepeats(1)]


def test_shared_cores_are_a_caveat() -> None:
    cells = [cell("a", 4, [2]), cell("a", 32, [1])]
    said = SharedCores(threads=128, cores=64)
    assert shared_cores(RunView.of(run(cells, nthreads=4))) == [said]
    assert shared_cores(RunView.of(run(cells, nthreads=2))) == []
    assert shared_cores(RunView.of(run(cells, nthreads=4, host_kind="ssh"))) == []


def test_nodes_that_share_a_machine_advise_no_node_count() -> None:
    cells = [cell("a", 4, [2]), cell("a", 32, [1])]
    shared, apart = (RunView.of(run(cells, nthreads=n)) for n in (4, 2))
    assert {UseNodes, AvoidNodes} <= set(_kinds(recommendations(apart)))
    assert recommendations(shared) == []
    for view, times in ((shared, 1), (apart, 0)):
        text = render(view.run, "en")
        assert text.count("threads shared 64 cores of one computer") == times  # once is enough


def test_network_advice_needs_a_network() -> None:
    busy = network(sync_share=0.6, p50_ms=1.0, p95_ms=3.0)
    cells = [cell("a", 2, [1], network=busy)]
    on_links = recommendations(RunView.of(run(cells, host_kind="ssh")))
    assert on_links == [ReduceSync("a", 2, 0.6), CheckLinks("a", 2, 1.0, 3.0)]
    assert recommendations(RunView.of(run(cells))) == [ReduceSync("a", 2, 0.6)]
    assert recommendations(RunView.of(run(cells, nthreads=64))) == []


def test_difference_of_shares_is_in_points() -> None:
    def share(value: float) -> dict[str, Estimate]:
        return {"sync_share": estimate(value)}

    view = _view(cell("a", 2, metrics=share(0.30)), cell("b", 2, metrics=share(0.25)))
    (said,) = comparison(view, SYNC_SHARE)
    assert isinstance(said, Ahead)
    assert (said.winner, said.low) == ("b", pytest.approx(5.0))
    assert "b's sync share is 5.0 points lower than that of a on 2 nodes" in render(view.run, "en")


# --- memory, network, thresholds -----------------------------------------------------------------


def test_memory_change_from_fewest_to_most() -> None:
    def used(*mib: float) -> dict[str, Estimate]:
        return {"root_peak_rss_bytes": estimate(*mib)}

    view = _view(cell("a", 4, metrics=used(60)), cell("a", 2, metrics=used(100)))
    (said,) = memory(view)
    assert isinstance(said, MemoryChange)
    assert (said.start, said.end, said.percent, said.tied) == (2, 4, -40.0, False)


def test_variance_is_p95_above_twice_p50() -> None:
    view = _view(
        cell("a", 2, network=network(p50_ms=1.0, p95_ms=2.0)),
        cell("a", 4, network=network(p50_ms=1.0, p95_ms=2.1)),
        cell("a", 8, network=network(p50_ms=1.0)),
    )
    assert variance(view) == [VarianceSeen(1, 2, "a", 4, 1.0, 2.1)]


def test_wire_mismatch_names_the_cell() -> None:
    view = _view(
        cell("a", 2, network=network(payload_bytes=10, expected_payload_bytes=10)),
        cell("a", 4, network=network(payload_bytes=11, expected_payload_bytes=10)),
    )
    assert wire(view) == [WireChecked(1, 2), WireMismatch("a", 4, 11, 10)]


def test_percentile_without_samples_says_so() -> None:
    _, p95, p99 = percentiles(network(operations=100, p50_ms=1.0))
    assert not p95.too_few  # enough for P95: it is missing for another reason
    assert p99.too_few
    short = cell("a", 2, [1], network=network(operations=100, p50_ms=1.0))
    assert "P50: 1.00 ms, P95: -, P99: - (n too small: 100, needs 459)" in render(
        run([short]), "en"
    )


def test_missed_threshold_has_value_limit_and_direction() -> None:
    result = ThresholdResult(
        metric="ttft_s",
        limit=1.0,
        direction="max",
        value=1.5,
        margin_percent=-50.0,
        passed=False,
        source="t.toml [a]",
    )
    view = _view(cell("a", 2, [1], thresholds=(result,)))
    assert ThresholdMissed("a", 2, "ttft_s", 1.5, 1.0, upper=True) in thresholds(view)
    assert "`ttft_s` is 1.500 s, limit ≤ 1.000 s - failed" in render(view.run, "en")


# --- text that fights Markdown -------------------------------------------------------------------


def test_texts_stay_where_they_belong() -> None:
    hostile = "| a | b |\n|---|---|\n```\n# not a heading\n<script>"
    fought = cell("m|1", 2, [1]).model_copy(
        update={"status": "failed", "error": hostile, "logs": ("a|b.log",)}
    )
    text = render(run([fought, cell("m|1", 4, [2])], prompt=hostile), "en")
    outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?\n\1$", "", text)
    assert "not a heading" in text
    assert "\n# not a heading" not in outside
    assert "<script>" not in outside.replace(r"\<script\>", "")
    assert r"m\|1" in outside


def test_tie_shows_both_texts_and_the_margin() -> None:
    part = TokenAlternative(
        position=7,
        oracle_token_id=1,
        oracle_piece=" red",
        cell_token_id=2,
        cell_piece=" blue",
        oracle_margin=0.0123,
        tolerance=0.05,
    )
    tied = cell("a", 2, [1], output="tie")
    assert tied.output is not None
    output = tied.output.model_copy(update={"oracle_text": "a red", "first_difference": part})
    text = render(run([tied.model_copy(update={"output": output})]), "en")
    assert "at output token 8 the oracle says “ red” (1), this cell “ blue” (2)" in text
    assert "Logit margin 0.012, tolerance 0.050: a tie within the error" in text
    assert "```text\na red\n```" in text


def test_worker_count_of_the_command_is_checked() -> None:
    commands = Commands(root=("dllama-py", "inference", "--workers", "a:1", "b:2"))
    text = render(run([cell("a", 2, [1], commands=commands)]), "ko")
    assert "명령의 워커는 2개이지만 2대 구성의 워커는 1개여야 함" in text


def test_a_cell_that_was_measured_anew_is_marked_and_told_in_both_languages() -> None:
    one, two = cell("a", 2, [10]), cell("a", 4, [20])
    record = run([one, two.model_copy(update={"retried": "worker 1 is lost"})])
    pages = [render(record, language) for language in LANGUAGES]
    for page in pages:
        assert page.count("worker 1 is lost") >= 1
        assert re.search(r"\b20[.0]* ↻", page)
        assert not re.search(r"\b10[.0]* ↻", page)
    assert any("it was measured anew on fresh workers - worker 1" in page for page in pages)
    assert any("새 워커에서 다시 측정함 - worker 1" in page for page in pages)
    lines = summary_lines(record)
    assert any(line.startswith("a-4 ↻ ") for line in lines)
    assert "a-4, measured anew ↻: worker 1 is lost" in lines


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
