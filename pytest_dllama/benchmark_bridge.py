"""Hands recorded samples to pytest-benchmark, whose own timer never runs.

pytest-benchmark 5 has no public way to take foreign samples, so this module leans on
`BenchmarkFixture._make_stats` and `_mode`, and on `BenchmarkSession.storage`; a contract test
(`tests/plugin/test_benchmark_bridge.py`) fails when a release changes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_benchmark import utils

if TYPE_CHECKING:
    import pytest

PLUGIN_NAME = "benchmark"
STORAGE_FLAG = "--benchmark-storage"
DEFAULT_STORAGE = "file://./.benchmarks"


def record_row(
    benchmark: Any,
    samples_s: Sequence[float],
    group: str,
    extra_info: Mapping[str, Any],
    *,
    trusted: bool,
) -> None:
    """Make one row of the benchmark table out of recorded seconds; `benchmark` is its fixture.

    A row that is not trusted is shown but never saved, so that it cannot become a baseline.
    """
    benchmark._mode = "recorded"
    if benchmark.disabled or not samples_s:
        return
    benchmark.group = group
    benchmark.extra_info.update(extra_info)
    benchmark.has_error = not trusted
    stats = benchmark._make_stats(1)
    for seconds in samples_s:
        stats.update(seconds)


def is_active(config: pytest.Config) -> bool:
    """Whether pytest-benchmark is loaded."""
    return config.pluginmanager.hasplugin(PLUGIN_NAME)


def storage_is_default(config: pytest.Config) -> bool:
    """Whether the user left the place of saved runs to us."""
    given = any(str(arg).startswith(STORAGE_FLAG) for arg in config.invocation_params.args)
    return not given and config.getoption("benchmark_storage") == DEFAULT_STORAGE


def use_storage(config: pytest.Config, folder: str) -> None:
    """Before pytest-benchmark configures itself: keep saved runs in a folder of their own."""
    if is_active(config) and storage_is_default(config):
        config.option.benchmark_storage = f"{DEFAULT_STORAGE}/{folder}"


def defer_compare(config: pytest.Config) -> Any:
    """Before pytest-benchmark configures itself: nothing is compared until the folder is known.

    Returns what `move_storage` needs to compare then.
    """
    if not is_active(config) or not storage_is_default(config):
        return None
    wanted, config.option.benchmark_compare = config.option.benchmark_compare, None
    return wanted


def move_storage(config: pytest.Config, folder: str, deferred: Any = None) -> None:
    """After pytest-benchmark configured itself: the same, and compare with what is there."""
    if not is_active(config) or not storage_is_default(config):
        return
    use_storage(config, folder)
    session: Any = config._benchmarksession  # type: ignore[attr-defined]
    load_storage: Any = utils.load_storage
    if deferred is not None:
        session.compare = config.option.benchmark_compare = deferred
    session.storage = load_storage(
        config.getoption("benchmark_storage"),
        logger=session.logger,
        default_machine_id=session.machine_id,
        netrc=config.getoption("benchmark_netrc"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warned once already that there is nothing to compare
        session.handle_loading()
