"""What the report says, and does not say, of scaling, resources and limits, for given figures."""

from __future__ import annotations

import re
from itertools import permutations

import pytest

from pytest_dllama.record.cell import (
    Commands,
    Estimate,
    RankRecord,
    ThresholdResult,
    TokenAlternative,
)
from pytest_dllama.record.network import OpStats
from pytest_dllama.report.figures.cell_detail import percentiles
from pytest_dllama.report.figures.quantities import SYNC_SHARE, TOKENS_PER_S
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.comparison import comparison, conclusion, steps
from pytest_dllama.report.rules.findings import knees
from pytest_dllama.report.rules.resources import memory, variance, wire
from pytest_dllama.report.rules.status import shared_cores, thresholds
from pytest_dllama.report.sentences.comparison import (
    Ahead,
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
from pytest_dllama.report.sentences.status import SharedCores, ThresholdMissed
from pytest_dllama.report.terminal.summary import summary_lines
from tests.plugin.report.report_runs import cell, estimate, kinds, network, run, view_of

# --- scaling -------------------------------------------------------------------------------------


def test_most_is_the_one_that_degrades_more() -> None:
    view = view_of(
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
    view = view_of(
        cell("a", 2, slow), cell("a", 4, fast), cell("b", 2, slow), cell("b", 4, [197, 200, 203])
    )
    (step,) = steps(view, TOKENS_PER_S)
    assert step.most is None


def test_most_needs_one_direction() -> None:
    view = view_of(cell("a", 2, [1]), cell("a", 4, [2]), cell("b", 2, [2]), cell("b", 4, [1]))
    assert steps(view, TOKENS_PER_S)[0].most is None


def test_knee_says_where_and_why() -> None:
    def root(compute_s: float, sync_s: float) -> tuple[RankRecord, ...]:
        values = {name: None for name in RankRecord.model_fields}
        known = {"rank": 0, "role": "root", "address": "-", "hostname": "h"}
        return (RankRecord(**{**values, **known, "compute_s": compute_s, "sync_s": sync_s}),)

    def ops(avg_ms: float) -> tuple[OpStats, ...]:
        values = {"p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
        return (OpStats(op="SYNC_LOGITS", operations=9, bytes=1, avg_ms=avg_ms, **values),)

    view = view_of(
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
    view = view_of(cell("a", 2, [10]), cell("a", 4, [15]))
    assert knees(view) == [NoKnee("a", 2, 4, 50.0)]


def test_plateau_within_the_spread() -> None:
    view = view_of(cell("a", 2, [99, 100, 101]), cell("a", 4, [100, 101, 102]))
    assert knees(view) == [Plateau("a", 2, 4)]


def test_order_of_cells_and_node_counts_does_not_matter() -> None:
    cells = [cell("a", 2, [10]), cell("a", 4, [20]), cell("a", 8, [15])]
    said = {str(knees(view_of(*order, node_counts=(8, 2, 4)))) for order in permutations(cells)}
    assert len(said) == 1


def test_one_node_count_has_no_scaling() -> None:
    text = render(run([cell("a", 2, [10])]), "en")
    assert text.startswith("# PASS: 1 cell\n")
    assert "## Scaling" not in text
    assert "best on" not in text


def test_conclusion_without_any_figure() -> None:
    view = view_of(cell("a", 2, status="failed", error="lost"), cell("a", 4, [1]))
    assert conclusion(view, 2) == [NothingCounts(2)]


# --- recommendations -----------------------------------------------------------------------------


def test_recommendations_follow_the_figures() -> None:
    view = view_of(cell("a", 2, [96]), cell("a", 4, [100]), cell("a", 8, [50]))
    assert recommendations(view) == [
        UseNodes("a", 4, 100, (), failed=False),
        FewerNodes("a", 2, 4, pytest.approx(96.0)),
        AvoidNodes("a", 8, 4, pytest.approx(-50.0)),
    ]


def test_slow_small_cluster_is_not_recommended() -> None:
    view = view_of(cell("a", 2, [50]), cell("a", 4, [100]))
    assert FewerNodes not in kinds(recommendations(view))


def test_repairs_come_first() -> None:
    view = view_of(
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
    assert {UseNodes, AvoidNodes} <= set(kinds(recommendations(apart)))
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

    view = view_of(cell("a", 2, metrics=share(0.30)), cell("b", 2, metrics=share(0.25)))
    (said,) = comparison(view, SYNC_SHARE)
    assert isinstance(said, Ahead)
    assert (said.winner, said.low) == ("b", pytest.approx(5.0))
    assert "b's sync share is 5.0 points lower than that of a on 2 nodes" in render(view.run, "en")


# --- memory, network, thresholds -----------------------------------------------------------------


def test_memory_change_from_fewest_to_most() -> None:
    def used(*mib: float) -> dict[str, Estimate]:
        return {"root_peak_rss_bytes": estimate(*mib)}

    view = view_of(cell("a", 4, metrics=used(60)), cell("a", 2, metrics=used(100)))
    (said,) = memory(view)
    assert isinstance(said, MemoryChange)
    assert (said.start, said.end, said.percent, said.tied) == (2, 4, -40.0, False)


def test_variance_is_p95_above_twice_p50() -> None:
    view = view_of(
        cell("a", 2, network=network(p50_ms=1.0, p95_ms=2.0)),
        cell("a", 4, network=network(p50_ms=1.0, p95_ms=2.1)),
        cell("a", 8, network=network(p50_ms=1.0)),
    )
    assert variance(view) == [VarianceSeen(1, 2, "a", 4, 1.0, 2.1)]


def test_wire_mismatch_names_the_cell() -> None:
    view = view_of(
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
    view = view_of(cell("a", 2, [1], thresholds=(result,)))
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
