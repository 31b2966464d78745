"""The fixtures that suites use.

This module is imported by every pytest run of an environment that has the plugin, so it imports
nothing heavy: the session's `Lab` comes ready from the plugin, and only when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dllama.edge import other_plugins
from pytest_dllama.edge.capture import uncaptured
from pytest_dllama.edge.stash import LAB_KEY, WARNINGS_KEY

if TYPE_CHECKING:
    from pytest_dllama.lab.cells import Cell, CellKey, Scaling
    from pytest_dllama.verdict.limits.limit import Threshold

MARKER = "dllama_threshold"
_A_SECOND = {"s": 1.0, "ms": 1e3}  # a second in the units of times
TIMEOUT_ADVICE = (
    "the first test that reads a cell takes as long as measuring it: allow a test more time, or "
    "leave cells to --request-timeout"
)


def _measured(config: pytest.Config, key: CellKey) -> Cell:
    """The cell, measured on first use; a failed one fails the test with the engine's message."""
    from pytest_dllama.lab.cells import Cell

    lab = config.stash[LAB_KEY]
    try:
        with uncaptured(config):
            record = lab.cell(key)
    except pytest.fail.Exception as broken_off:  # pytest-timeout's signal
        record = lab.give_up(key, f"{str(broken_off.msg).rstrip('.')}; {TIMEOUT_ADVICE}")
    except Exception as error:
        if (plugin := other_plugins.broken_off_by(error)) is None:
            raise
        record = lab.give_up(key, f"{plugin} forbids it ({type(error).__name__}: {error})")
    if record.status == "skipped":
        pytest.skip(f"{key}: {record.error}")
    if record.error is not None:
        pytest.fail(f"{key}: {record.error}", pytrace=False)
    asked = lab.config.comparison
    return Cell(
        record,
        lab.cannot_give(key),
        lab.comparison(key),
        inconclusive_fails=asked is not None and asked.inconclusive == "fail",
    )


@pytest.fixture(scope="session")
def cell(request: pytest.FixtureRequest) -> Cell:
    """One measured cell: a model on a node count.

    Tests that use it run once for each model, node count and workload of the command line. The
    cell is measured once a session, with warm-up and repeats, and read by every test.
    """
    return _measured(request.config, request.param)


@pytest.fixture(scope="session")
def scaling(request: pytest.FixtureRequest) -> Scaling:
    """All cells of one model and workload; skips with fewer than two node counts."""
    from pytest_dllama.lab.cells import Scaling

    name, keys = request.param
    if len(keys) < 2:
        pytest.skip(f"{name} was measured on one node count only; scaling needs two")
    limits = request.config.stash[LAB_KEY].scaling_limits(keys[0].model)
    return Scaling(name, [_measured(request.config, key) for key in keys], limits)


@pytest.fixture
def threshold(cell: Cell, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`threshold("tpot_ms")`: fail unless the metric was measured and keeps all its limits.

    Limits come from the thresholds file and from `@pytest.mark.dllama_threshold(tpot_ms=50)`.
    Skips where the metric cannot exist: a lone root has no network and no workers, and an engine
    may not tell everything.
    """

    def check(metric: str) -> None:
        __tracebackhide__ = True
        why_without = cell.why_without(metric)
        if why_without is not None:
            pytest.skip(why_without)
        cell.check_metric(metric, limits_of(request.node))

    return check


def limits_of(node: Any) -> tuple[Threshold, ...]:
    """Limits of the test's own markers, the nearest winning.

    Raises:
        pytest.UsageError: an unknown metric, or a limit that cannot be.
    """
    from pytest_dllama.verdict.limits.limit import ThresholdError
    from pytest_dllama.verdict.limits.thresholds_file import marker_thresholds

    limits: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers(MARKER))):
        limits |= mark.kwargs
    try:
        return marker_thresholds(limits)
    except ThresholdError as error:
        raise pytest.UsageError(f"@pytest.mark.{MARKER}: {error}") from None


def _samples_s(cell: Cell, metric: str) -> list[float]:
    """The cell's samples of a time, in seconds; tokens that never came have none."""
    _, per_second = _row_of(metric)
    values = [getattr(sample, metric) for sample in cell.record.samples]
    return [value / per_second for value in values if value is not None]


class BenchmarkRows:
    """`timing_row` beside pytest-benchmark; a plugin, so that another can stand in its place."""

    @pytest.fixture
    def timing_row(
        self, cell: Cell, benchmark: Any, request: pytest.FixtureRequest
    ) -> Callable[[str], None]:
        """`timing_row("rct_s")`: hand the cell's samples of a time to pytest-benchmark as a row.

        Rows of cells that did not pass, and of an engine that was slowed down on purpose, are
        shown and never saved.
        """
        from pytest_dllama.edge import benchmark_bridge

        lab = request.config.stash[LAB_KEY]
        work = benchmark_bridge.work_of(
            cell.key.id, cell.key.model, cell.key.nodes, cell.key.workload, lab.config
        )

        def add(metric: str) -> None:
            group = f"{_row_of(metric)[0]} of {cell.key.apart_from_nodes}"
            warnings = benchmark_bridge.leave_out_other_work(request.config, benchmark, work)
            request.config.stash[WARNINGS_KEY].extend(warnings)
            benchmark_bridge.record_row(
                benchmark,
                _samples_s(cell, metric),
                group,
                _extra_info(cell) | work,
                trusted=cell.trusted and not lab.config.inject,
                params=work,
            )

        return add


class NoRows:
    """`timing_row` without pytest-benchmark."""

    @pytest.fixture
    def timing_row(self, cell: Cell) -> Callable[[str], None]:
        """`timing_row("rct_s")`: pytest-benchmark is off, so that there is no table to add to."""

        def add(metric: str) -> None:
            _samples_s(cell, metric)

        return add


def _row_of(metric: str) -> tuple[str, float]:
    """The name of a time in the benchmark table, and how many of its unit are a second."""
    from pytest_dllama.metrics.catalog import METRICS

    per_second = {name: units for name, m in METRICS.items() if (units := _A_SECOND.get(m.unit))}
    if metric not in per_second:
        known = ", ".join(per_second)
        raise pytest.UsageError(f"timing_row({metric!r}): no time of a sample; there are {known}")
    return metric.rpartition("_")[0].upper(), per_second[metric]


def _extra_info(cell: Cell) -> dict[str, Any]:
    """What pytest-benchmark has no column for: every other metric, and the verdict."""
    figures: dict[str, Any] = {
        name: estimate.value for name, estimate in cell.record.metrics.items()
    }
    verdict = cell.record.verdict
    figures["verdict"] = verdict.status if verdict else None
    return figures
