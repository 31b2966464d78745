"""The contract with pytest-benchmark's private parts, and the place of saved rows."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.session import BenchmarkSession

from pytest_dllama.edge import benchmark_bridge

ROWS = """
    from pytest_dllama.edge.benchmark_bridge import record_row

    def test_good(benchmark):
        record_row(benchmark, [0.25, 0.5, 0.75], "RCT of m", {"tokens_per_s": 4.0}, trusted=True)

    def test_bad(benchmark):
        record_row(benchmark, [0.5], "RCT of m", {}, trusted=False)

    def test_without_samples(benchmark):
        record_row(benchmark, [], "TPOT of m", {}, trusted=True)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_rows=ROWS)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def test_it_is_known_by_either_name() -> None:
    """Without autoload it is loaded by `-p pytest_benchmark.plugin`, and rows were left out."""
    for name, is_there in (("benchmark", True), ("pytest_benchmark.plugin", True), ("x", False)):
        manager = pytest.PytestPluginManager()
        manager.register(object(), name)
        config: Any = SimpleNamespace(pluginmanager=manager)
        assert benchmark_bridge.is_active(config) is is_there


def test_the_private_parts_are_there() -> None:
    assert callable(BenchmarkFixture._make_stats)
    assert callable(BenchmarkSession.handle_loading)


def test_recorded_samples_become_rows(project: pytest.Pytester) -> None:
    result = project.runpytest("--benchmark-json", "rows.json")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*benchmark 'RCT of m': 2 tests*"])
    (row,) = json.loads((project.path / "rows.json").read_text())["benchmarks"]
    assert (row["name"], row["group"]) == ("test_good", "RCT of m")
    assert row["stats"]["data"] == [0.25, 0.5, 0.75]
    assert row["stats"]["median"] == 0.5
    assert row["extra_info"] == {"tokens_per_s": 4.0}


def test_switched_off_benchmarks_are_passed_over(project: pytest.Pytester) -> None:
    project.runpytest("--benchmark-disable").assert_outcomes(passed=3)
    project.runpytest("--benchmark-skip").assert_outcomes(skipped=3)
    project.runpytest("--benchmark-only").assert_outcomes(passed=3)


def test_rows_are_saved_and_compared_under_the_name_of_the_machine(
    project: pytest.Pytester,
) -> None:
    here = "--nodes=2"  # says that the run is about us
    project.runpytest(here, "--benchmark-save", "one")
    (saved,) = project.path.glob(".benchmarks/local-*/*/0001_one.json")
    assert [row["name"] for row in json.loads(saved.read_text())["benchmarks"]] == ["test_good"]
    result = project.runpytest(here, "--benchmark-compare")
    result.stdout.fnmatch_lines(["test_good (0001_one)*"])


def test_the_place_of_the_user_is_kept(project: pytest.Pytester) -> None:
    project.runpytest("--nodes=2", "--benchmark-storage=mine", "--benchmark-save", "one")
    assert list(project.path.glob("mine/*/0001_one.json"))
    assert not (project.path / ".benchmarks").exists()


def test_runs_about_something_else_keep_their_place(project: pytest.Pytester) -> None:
    project.runpytest("--benchmark-save", "one")
    assert list(project.path.glob(".benchmarks/Linux-*/0001_one.json"))


def test_storage_moves_late_when_only_the_tests_tell(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from pytest_dllama.edge import benchmark_bridge

        def pytest_collection_finish(session):
            benchmark_bridge.move_storage(session.config, "local-machine")
        """
    )
    project.runpytest("--benchmark-save", "one").assert_outcomes(passed=3)
    assert list(project.path.glob(".benchmarks/local-machine/*/0001_one.json"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for files in the old place first
        result = project.runpytest("--benchmark-compare", "0001", "-o", "filterwarnings=ignore")
    result.stdout.fnmatch_lines(["test_good (0001_one)*"])


WORK = """
    import json
    from pathlib import Path
    from pytest_dllama.edge.benchmark_bridge import leave_out_other_work, record_row

    def test_row(benchmark, pytestconfig):
        work = json.loads(Path("work.json").read_text())
        for warning in leave_out_other_work(pytestconfig, benchmark, work):
            print("said:", warning)
        record_row(benchmark, [0.5], "RCT of m", work, trusted=True, params=work)
"""
DONE = {"model": "m", "nodes": 2, "steps": 16, "prompt": "Hi", "engine": "embedded"}


def _do(pytester: pytest.Pytester, *options: str, **work: object) -> pytest.RunResult:
    (pytester.path / "work.json").write_text(json.dumps(DONE | work))
    return pytester.runpytest("-s", "-W", "ignore", *options)


def test_params_say_what_the_row_did(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_rows=WORK)
    _do(pytester, "--benchmark-json", "rows.json").assert_outcomes(passed=1)
    (row,) = json.loads((pytester.path / "rows.json").read_text())["benchmarks"]
    assert row["params"] == row["extra_info"] == DONE


@pytest.mark.parametrize(
    ("work", "said", "is_compared"),
    [
        ({}, "", True),
        ({"steps": 64}, "m on 2 nodes did other work there: steps 16, now 64; left out of", False),
        ({"prompt": "Ho"}, "m on 2 nodes did other work there: prompt 'Hi', now 'Ho'; left", False),
        ({"engine": "dllama"}, "was measured with another engine: 'embedded', now 'dllama'", True),
    ],
)
def test_other_work_is_left_out_of_the_comparison(
    pytester: pytest.Pytester, work: dict[str, object], said: str, is_compared: bool
) -> None:
    pytester.makepyfile(test_rows=WORK)
    _do(pytester, "--benchmark-save", "one")
    result = _do(pytester, "--benchmark-compare", "--benchmark-compare-fail=min:1%", **work)
    result.assert_outcomes(passed=1)
    text = result.stdout.str()
    assert [line for line in text.splitlines() if "said:" in line and said in line] or not said
    assert ("said:" in text) == bool(said)
    assert ("test_row (0001_one)" in text) == is_compared


def test_a_saved_row_of_an_older_version_is_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_rows=WORK)
    _do(pytester, "--benchmark-save", "one")
    (saved,) = pytester.path.glob(".benchmarks/*/0001_one.json")
    rows = json.loads(saved.read_text())
    rows["benchmarks"][0]["params"] = {"cell": "UNSERIALIZABLE[...]"}
    saved.write_text(json.dumps(rows))
    result = _do(pytester, "--benchmark-compare")
    result.stdout.fnmatch_lines(["*said: 0001_one: m on 2 nodes: it does not tell its steps*"])


def test_a_fixture_of_another_plugin_gets_no_row() -> None:
    class Foreign(BenchmarkFixture):
        def __init__(self) -> None:
            """As pytest-codspeed's: it inherits the class, not its attributes."""

    benchmark_bridge.record_row(Foreign(), [0.5], "RCT of m", {}, trusted=True)


def test_without_pytest_benchmark_nothing_is_touched(project: pytest.Pytester) -> None:
    project.makepyfile(test_rows="def test_it(pytestconfig):\n    assert pytestconfig\n")
    project.runpytest("-p", "no:benchmark", "--nodes=2").assert_outcomes(passed=1)
    assert benchmark_bridge.PLUGIN_NAMES[0] == "benchmark"
