"""A metric is added in one place, and every place that must know it does."""

from __future__ import annotations

import pytest

from pytest_dllama.lab.cells import Cell
from pytest_dllama.metrics import catalog
from pytest_dllama.metrics.catalog import METRICS, Metric, cell_metrics
from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.quantities import MEMORY, NETWORK, SPEED
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.tables.columns import metric_value
from pytest_dllama.report.terminal import summary
from pytest_dllama.verdict.limits.limit import ThresholdError, explain
from pytest_dllama.verdict.limits.thresholds_file import parse_thresholds
from tests.plugin.report.report_runs import cell, run
from tests.plugin.traces_for_tests import decode_step, trace

ADDED = Metric(
    "steps_per_repeat",
    "Mbit/s",
    "higher",
    "steps of a repeat, made up for this test",
    needs_peers=True,
    of_repeat=lambda trace, sample: float(len(trace.decode_steps)),
)
LIMIT = {"defaults": {ADDED.name: 5}}


@pytest.fixture
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, ADDED.name, ADDED)


@pytest.mark.usefixtures("_added")
def test_a_new_metric_is_measured_limited_and_shown() -> None:
    repeat = trace([decode_step(i, i, i + 1) for i in range(3)])
    figures = cell_metrics([repeat], [sample_of(repeat)])
    assert figures[ADDED.name].value == 3

    thresholds = parse_thresholds(LIMIT, "limits.toml")
    assert thresholds.of("tiny", 1) == ()  # a lone root has no peers
    (limit,) = thresholds.of("tiny", 2)
    assert explain(limit.check(figures[ADDED.name])) == (
        "steps_per_repeat = 3 Mbit/s, limit >= 5 Mbit/s, 40.0 % beyond; a single sample, of "
        "unknown spread (limits.toml [defaults])"
    )

    alone = Cell(CellRecord(model="tiny", nodes=1, status="ok"))
    assert alone.why_without(ADDED.name) == "tiny-1 has no steps_per_repeat"
    assert metric_value(ADDED.name, 3.0) == "3.00 Mbit/s"

    record = run([cell("a", 2, [1])]).model_copy(update={"definitions": catalog.all_definitions()})
    for language in LANGUAGES:
        (row,) = [line for line in render(record, language).splitlines() if ADDED.name in line]
        assert "| Mbit/s" in row
        assert "made up for this test" in row


def test_a_metric_that_nobody_added_is_unknown() -> None:
    with pytest.raises(ThresholdError, match="unknown metric 'steps_per_repeat'"):
        parse_thresholds(LIMIT, "limits.toml")


def test_reports_and_terminal_take_their_metrics_from_the_catalogue() -> None:
    in_terminal = {metric for _, metric, *_ in summary._FIGURES}
    in_report = {quantity.key for quantity in (*SPEED, *MEMORY, *NETWORK)}
    own = {"total_bytes", "avg_ms", "root_memory", "worker_memory"}  # not metrics, or renamed
    assert in_terminal <= set(METRICS)
    assert in_report - own <= set(METRICS)


def test_every_name_is_defined_once() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    assert not set(METRICS) & set(catalog.DISTRIBUTIONS)
    assert set(catalog.all_definitions()) == set(METRICS) | set(catalog.DISTRIBUTIONS)
