"""The wheel in an environment full of other plugins, in a project that has its own everything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_dllama.history.run_files import read_run
from tests.plugin.edge.environment import SMALL, Environment, make_environment

pytestmark = pytest.mark.long

SUITES = ("--pyargs", "pytest_dllama.suites")
NO_TESTINFRA = ("-p", "no:pytest11.testinfra")  # it has --hosts too, as the project's conftest
CONFTEST = """
def pytest_addoption(parser):
    for name in ("--hosts", "--seed", "--report"):
        parser.addoption(name, default="theirs")
"""
OWN = """
import engine
import suites
import templates
from pathlib import Path

def test_own(request):
    here = Path(__file__).parents[1]
    for package in (engine, suites, templates):
        assert Path(package.__file__).parents[1] == here
    options = [request.config.getoption(name) for name in ("--hosts", "--seed", "--report")]
    assert options == ["theirs", "7", "theirs"]
"""


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def env(binaries: Path, tmp_path: Path) -> Environment:
    """A project with packages of names that we use too, and options that we have too."""
    for package in ("engine", "suites", "templates", "tests"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests" / "test_own.py").write_text(OWN)
    return Environment(binaries, tmp_path)


def test_the_project_does_not_notice(env: Environment) -> None:
    done = env.run("python", "-m", "pytest", *NO_TESTINFRA, "tests", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "dllama:" not in done.stdout


def test_the_suites_run_beside_it_and_tell_others_what_was_measured(env: Environment) -> None:
    """With its options in use, and every neighbour at work."""
    done = env.pytest(
        *(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", "--seed", "7", "--report", "x"),
        *("--reruns", "1", "--count", "2", "--timeout", "250", "-p", "randomly"),
        *("--html", "page.html", "--junitxml", "tests.xml", "--csv", "samples.csv"),
        *("--benchmark-json", "rows.json", "-k", "rct or output"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert (
        "dllama: --seed is another plugin's or conftest's option here; ours is --dllama-seed"
        in (done.stdout)
    )
    assert "dllama: --reruns 1, --count 2: a cell is measured once a session" in done.stdout
    (cell,) = read_run(env.project / "report" / "run.json").cells
    value = cell.metrics["tokens_per_s"].value
    tests = ElementTree.parse(env.project / "tests.xml").getroot().iter("testcase")
    for test in tests:
        found = {p.get("name"): p.get("value") for p in test.iter("property")}
        assert found["tokens_per_s"] == str(value)
        assert (found["model"], found["nodes"], found["verdict"]) == ("llama_q40", "2", "PASS")
    assert f"<td>{value:.6g}</td>" in (env.project / "page.html").read_text()
    assert (env.project / "samples.csv").read_text().count("\n") == 2
    rows = json.loads((env.project / "rows.json").read_text())["benchmarks"]
    assert [row["params"]["nodes"] for row in rows] == [2, 2]


def test_an_option_of_testinfra_is_testinfras(env: Environment) -> None:
    (env.project / "conftest.py").unlink()
    options = (*SMALL, "--nodes", "2", "--hosts", "local://", "--collect-only")
    done = env.pytest(*SUITES, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dllama: 1 cell (llama_q40-2)" in done.stdout
    assert "dllama: --hosts is another plugin's or conftest's option here" in done.stdout


def test_several_processes_are_refused_in_a_sentence(env: Environment) -> None:
    done = env.pytest(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", "-n", "2")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    assert errors == [
        "ERROR: cells cannot be measured side by side, for they would share the machine: leave -n "
        "out (or -n 0), or leave the cells out with -m 'not dllama'"
    ]
    assert "INTERNALERROR" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_process_for_each_test_is_refused_in_a_sentence(env: Environment) -> None:
    """Every cell was measured in a process that ended with its test: no table, no run file."""
    done = env.pytest(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", "--forked")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert (
        "ERROR: cells cannot be measured in a process that ends with its test, for many tests read "
        "one: --forked: leave it out, or leave the cells out with -m 'not dllama'"
    ) in done.stderr


def test_what_a_plugin_forbids_costs_its_cell_and_not_the_run(env: Environment) -> None:
    """A traceback a test and no run file."""
    options = ("--nodes", "2", "--disable-socket", "-k", "output")
    done = env.pytest(*NO_TESTINFRA, *SUITES, *SMALL, *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    (cell,) = read_run(env.project / "report" / "run.json").cells
    assert (cell.error or "").startswith("pytest-socket forbids it (SocketBlockedError: ")
    assert "Traceback" not in done.stdout


def test_several_processes_may_run_the_rest(env: Environment) -> None:
    (env.project / "tests" / "test_cells.py").write_text("def test_cell(cell):\n    pass\n")
    done = env.run(
        *("python", "-m", "pytest", *NO_TESTINFRA, "tests", *SMALL),
        *("-n", "2", "-m", "not dllama", "--seed", "7"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_a_timeout_costs_its_cell_and_not_the_run(env: Environment) -> None:
    done = env.pytest(
        *(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2,3", "--timeout", "0.5", "-k", "output"),
        *("--inject", "ttft=20s"),  # no request ends in time
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    cells = read_run(env.project / "report" / "run.json").cells
    assert {cell.nodes for cell in cells} == {2, 3}
    for cell in cells:
        assert cell.verdict is not None
        assert cell.verdict.status == "ERROR"
        assert re.match(r"Timeout \(>0\.5s\) from pytest-timeout; the first test", cell.error or "")
    assert "run file: " in done.stdout


@pytest.mark.parametrize(
    ("options", "passed"),
    [(("-p", "no:benchmark"), 2), (("--codspeed",), 1)],
    ids=["off", "codspeed"],
)
def test_timing_tests_run_without_rows(
    env: Environment, options: tuple[str, ...], passed: int
) -> None:
    """pytest-codspeed leaves the other tests out: they use no `benchmark`."""
    done = env.pytest(
        *(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", *options, "-k", "rct or output")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout
    assert "benchmark 'RCT" not in done.stdout
    assert "run file: " in done.stdout


def test_the_table_is_printed_even_if_pytest_benchmark_fails(env: Environment) -> None:
    """Nothing is saved yet that the run could be compared with."""
    options = ("--benchmark-compare", "--benchmark-compare-fail=min:1%", "--report-format", "md")
    done = env.pytest(*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", *options, "-k", "rct")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --benchmark-compare-fail requires valid --benchmark-compare." in done.stderr
    assert re.search(r"llama_q40-2 +[\d.]+ .* PASS", done.stdout)
    assert "run file: " in done.stdout
    assert "report.en.md" in done.stdout


def test_rows_of_other_work_are_not_compared(env: Environment) -> None:
    line = (*NO_TESTINFRA, *SUITES, *SMALL, "--nodes", "2", "-k", "rct")
    assert env.pytest(*line, "--benchmark-save", "one").returncode == 0
    done = env.pytest(
        *(*line, "--steps", "40", "--benchmark-compare", "--benchmark-compare-fail=min:1%")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "warning: 0001_one: llama_q40 on 2 nodes did other work there: steps 24, now 40; left out "
        "of the comparison"
    ) in done.stdout


def test_bench_from_the_wheel(env: Environment) -> None:
    """In a project that has a package of the suites' name."""
    done = env.run(
        *("pytest-dllama", "bench", *NO_TESTINFRA, *SMALL, "--nodes", "2,4"),
        *("-k", "rct", "--collect-only"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dllama: 2 cells (llama_q40-2, llama_q40-4)" in done.stdout
    assert re.search(r"\b2/\d+ tests collected", done.stdout)
