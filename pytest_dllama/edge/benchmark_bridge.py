"""Hands recorded samples to pytest-benchmark, whose own timer never runs.

pytest-benchmark 5 has no public way to take foreign samples, so this module leans on
`BenchmarkFixture._make_stats`, `_mode` and `params`, and on `BenchmarkSession.storage` and
`compared_mapping`; a contract test (`tests/plugin/edge/test_benchmark_bridge.py`) fails when a
release changes them. It may be missing, or switched off: nothing of it is imported before it is
needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.config.settings import LabConfig
    from pytest_dllama.record.cell import Workload

PLUGIN_NAMES = ("benchmark", "pytest_benchmark.plugin")  # loaded by itself, or by -p
STORAGE_FLAG = "--benchmark-storage"
DEFAULT_STORAGE = "file://./.benchmarks"
WORK = ("model", "nodes", "steps", "prompt")  # where these differ, times cannot be compared


def record_row(
    benchmark: Any,
    samples_s: Sequence[float],
    group: str,
    extra_info: Mapping[str, Any],
    *,
    trusted: bool,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Make one row of the benchmark table out of recorded seconds; `benchmark` is its fixture.

    A row that is not trusted is shown but never saved, so that it cannot become a baseline.
    `params` stand in place of the test's own parameters, which JSON cannot hold. A fixture that
    another plugin put in its place (pytest-codspeed) gets no row.
    """
    if not _is_recorder(benchmark):
        return
    benchmark._mode = "recorded"
    if benchmark.disabled or not samples_s:
        return
    benchmark.group = group
    if params is not None:
        benchmark.params = dict(params)
    benchmark.extra_info.update(extra_info)
    benchmark.has_error = not trusted
    stats = benchmark._make_stats(1)
    for seconds in samples_s:
        stats.update(seconds)


def _is_recorder(benchmark: Any) -> bool:
    """Whether it is pytest-benchmark's own fixture, whose class others may inherit."""
    return type(benchmark).__module__.partition(".")[0] == "pytest_benchmark"


def work_of(
    cell: str, model: str, nodes: int, workload: Workload, config: LabConfig
) -> dict[str, Any]:
    """What a row's cell did, as JSON can hold it; a made prompt is told by its length.

    Args:
        cell: its id.
        model: of it, as are the next two.
        nodes: the root counted.
        workload: what it sweeps.
        config: what all cells have in common.
    """
    made, given = workload.prompt_tokens, workload.output_tokens
    work = {
        "model": model,
        "nodes": nodes,
        "steps": config.steps if given is None else f"{given} output tokens",
        "prompt": config.prompt if made is None else f"{made} tokens",
        "engine": config.engine,
    }
    swept = dict(workload.options)
    if workload.context_depth is not None:
        swept["context-depth"] = str(workload.context_depth)
    return work | ({"cell": cell, "swept": swept} if swept else {})


def leave_out_other_work(
    config: pytest.Config, benchmark: Any, work: Mapping[str, Any]
) -> list[str]:
    """Take saved rows of other work out of the comparison; a warning for each saved run.

    Pytest-benchmark compares what has the same name, whatever was done under it. Rows of another
    engine stay: to compare engines is a fair wish.
    """
    session: Any = getattr(config, "_benchmarksession", None)
    if session is None or not _is_recorder(benchmark):
        return []
    warnings = []
    for path, rows in (session.compared_mapping or {}).items():
        row = rows.get(benchmark.fullname)
        if row is None:
            continue
        nodes = f"{work['nodes']} node{'s' if work['nodes'] != 1 else ''}"
        cell = f"{Path(str(path)).stem}: {work['model']} on {nodes}"
        saved = row.get("params") or {}
        different = [name for name in WORK if saved.get(name, work[name]) != work[name]]
        if different:
            del rows[benchmark.fullname]
            what = ", ".join(f"{name} {saved[name]!r}, now {work[name]!r}" for name in different)
            warnings.append(f"{cell} did other work there: {what}; left out of the comparison")
        elif not set(WORK) <= set(saved):
            warnings.append(f"{cell}: it does not tell its steps and prompt, maybe they differ")
        elif saved.get("engine") != work["engine"]:
            engines = f"{saved.get('engine')!r}, now {work['engine']!r}"
            warnings.append(f"{cell} was measured with another engine: {engines}")
    return warnings


def is_active(config: pytest.Config) -> bool:
    """Whether pytest-benchmark is loaded."""
    return any(config.pluginmanager.hasplugin(name) for name in PLUGIN_NAMES)


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
    session: Any = getattr(config, "_benchmarksession", None)
    if session is None:
        return
    from pytest_benchmark import utils

    use_storage(config, folder)
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
