"""The plugin at pytest's edge: help, ini keys, refusals, and silence where nobody asked for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_dllama.config.options import SETTINGS
from tests.data import MODELS as GOLDEN

MODEL = f"{GOLDEN / 'llama_q40.m'}:{GOLDEN / 'golden.t'}"
A_CELL = "def test_it(cell):\n    pass\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose one test reads cells; it is never measured here."""
    pytester.makepyfile(A_CELL)
    return pytester


@pytest.mark.parametrize("option", SETTINGS, ids=lambda option: option.name)
def test_help_explains_every_option(option, request) -> None:
    text = request.getfixturevalue("help_text")
    for flag in (option.flag, option.long_flag):
        assert f"{flag}={option.form}".removesuffix("=") in text
    assert option.key in text


def test_what_is_only_collected_of_a_comparison_is_told_in_pairs(project) -> None:
    for options, often in (
        (("--baseline", "git:v9", "--pairs", "3,5"), "up to 5 pairs against git:v9"),
        (("--calibrate", "6"), "up to 6 pairs against self"),
        (("--baseline", "run:some.json"), "3 repeats"),
    ):
        result = project.runpytest("--collect-only", "--nodes", "2", "--models", MODEL, *options)
        result.stdout.fnmatch_lines([f"dllama: 1 cell (llama_q40-2), {often} of 64 steps, *"])


@pytest.fixture(scope="module")
def help_text(tmp_path_factory) -> str:
    command = [sys.executable, "-m", "pytest", "--help"]
    folder, wide = tmp_path_factory.mktemp("help"), os.environ | {"COLUMNS": "300"}
    return subprocess.run(
        command, cwd=folder, env=wide, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "0"], "ERROR: --nodes 0: 0 is no cluster; a count includes the root*"),
        (["--keep-workers"], "ERROR: --keep-workers is for workers of other machines*"),
        (
            ["-o", "dllama_keep_workers=perhaps"],
            "ERROR: --keep-workers 'perhaps' is no switch; write true or false",
        ),
        (["--nodes", "2,x"], "ERROR: --nodes 2,x: 'x' is no whole number"),
        (
            ["--models", "no/model.m:no/tok.t"],
            "ERROR: --models no/model.m:no/tok.t: no file *no/model.m; give the path of a .m*",
        ),
        (
            ["--models", "llama-160m"],
            "ERROR: --models llama-160m: no shipped model of this name * synthetic:llama-160m, *",
        ),
        (
            ["--models", "synthetic:llama-9t"],
            "ERROR: *unknown shape 'llama-9t'; one of llama-160m*",
        ),
        (
            ["--models", MODEL, "--nodes", "2,16"],
            "ERROR: *16 nodes: this model runs on 1 to 8 nodes*ask for fewer nodes",
        ),
        (
            ["--models", MODEL, "--steps", "3"],
            "ERROR: --prompt has * tokens and --steps is 3: *use --steps * or more*",
        ),
        (["--models", MODEL, "--thresholds", "limits.toml"], "ERROR: *did you mean 'tpot_ms'?"),
        (
            ["--models", MODEL, "--thresholds", "inf.toml"],
            "ERROR: inf.toml [[]defaults[]] tokens_per_s: inf limits nothing; write a finite*",
        ),
        (
            ["--models", MODEL, "--thresholds", "models.toml", "--strict-thresholds"],
            "ERROR: models.toml [[]models.llama_q4[]] limits no cell of this run; did you mean "
            "'llama_q40'? (--strict-thresholds)",
        ),
        (["--models", MODEL, "--thresholds", "none.toml"], "ERROR: *none.toml: cannot be read*"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    project: pytest.Pytester, options: list[str], message: str
) -> None:
    project.makefile(".toml", limits="[defaults]\ntpot_mss = 3\n")
    project.makefile(".toml", inf="[defaults]\ntokens_per_s = inf\n")
    project.makefile(".toml", models="[models.llama_q4]\ntpot_ms = 3\n")
    result = project.runpytest(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not (project.path / "report").exists()


def test_a_broken_model_file_is_refused(project: pytest.Pytester) -> None:
    (project.path / "broken.m").write_bytes(b"not a model")
    result = project.runpytest("--models", f"broken.m:{GOLDEN / 'golden.t'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --models broken.m:*"])


def test_ini_keys_and_the_flag_wins(project: pytest.Pytester) -> None:
    project.makeini(
        f"[pytest]\ndllama_nodes = 1,2\ndllama_models = {MODEL}\ndllama_repeats = 7\n"
        "dllama_sync_mode = invariant\n"
    )
    result = project.runpytest("--collect-only", "--nodes", "4")
    result.stdout.fnmatch_lines(
        ["dllama: 1 cell (llama_q40-4), 7 repeats of 64 steps, q80 buffers, sync mode invariant"]
    )


def test_a_bad_ini_value_is_refused(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\ndllama_repeats = few\n")
    result = project.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --repeats few is no whole number"])


def test_paths_of_ini_keys_start_at_the_ini_file(project: pytest.Pytester, monkeypatch) -> None:
    (project.path / "m.m").symlink_to(GOLDEN / "llama_q40.m")
    (project.path / "m.t").symlink_to(GOLDEN / "golden.t")
    project.makeini("[pytest]\ndllama_models = m.m:m.t\n")
    below = project.mkdir("below")
    monkeypatch.chdir(below)
    result = project.runpytest("--collect-only", "--nodes", "2", "..")
    result.stdout.fnmatch_lines(["dllama: 1 cell (m-2)*"])


def test_only_selected_cells_are_planned(project: pytest.Pytester) -> None:
    result = project.runpytest(
        "--collect-only", "--models", MODEL, "--nodes", "2,4", "-k", "llama_q40-2"
    )
    result.stdout.fnmatch_lines(["dllama: 1 cell (llama_q40-2)*"])


def test_collecting_starts_nothing(project: pytest.Pytester) -> None:
    result = project.runpytest("--collect-only", "--models", MODEL)
    assert result.ret == 0
    assert not (project.path / "report").exists()


UNRELATED = """
    import sys
    import pytest

    @pytest.mark.parametrize("cell", ["A1", "B2"])
    def test_a_spreadsheet(cell):
        assert len(cell) == 2

    @pytest.fixture
    def scaling():
        return 3

    def test_a_picture(scaling):
        assert scaling == 3

    def test_nothing_heavy_was_imported():
        heavy = {"numpy", "numba", "pydantic", "rich", "dllama_engine", "psutil"}
        assert heavy.isdisjoint(sys.modules)
"""


def test_an_unrelated_project_notices_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNRELATED)
    result = pytester.runpytest_subprocess("-p", "no:benchmark")
    result.assert_outcomes(passed=4)
    result.stdout.no_fnmatch_line("*dllama:*")
    assert {"report", ".benchmarks"}.isdisjoint(path.name for path in pytester.path.iterdir())


def test_a_flag_that_another_plugin_took_gets_a_prefix(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(other="def pytest_addoption(parser):\n    parser.addoption('--seed')\n")
    pytester.syspathinsert()
    result = pytester.runpytest_subprocess("-p", "other", "--help")
    result.stdout.fnmatch_lines(["*--dllama-seed=N*"])


def test_limits_of_no_cell_are_a_warning(project: pytest.Pytester) -> None:
    project.makefile(".toml", limits="[models.llama_q4]\ntpot_ms = 3\n")
    options = ("--models", MODEL, "--nodes", "2", "--thresholds", "limits.toml")
    result = project.runpytest("--collect-only", *options)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "dllama: warning: limits.toml [[]models.llama_q4[]] limits no cell of this run; "
            "did you mean 'llama_q40'?"
        ]
    )


def test_limits_of_a_marker_are_read_before_anything_starts(project: pytest.Pytester) -> None:
    project.makepyfile(
        "import pytest\n\n@pytest.mark.dllama_threshold(tpot_ms=float('inf'))\n" + A_CELL
    )
    result = project.runpytest("--models", MODEL)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: @pytest.mark.dllama_threshold: *inf limits nothing*"])
    assert not (project.path / "report").exists()


def test_the_marker_leaves_cells_out(project: pytest.Pytester) -> None:
    """It is ours for tests of our fixtures only; plain ones go on."""
    project.makepyfile(
        """
        import pytest

        def test_cell(cell):
            pass

        def test_scaling(scaling):
            pass

        def test_threshold(threshold):
            pass

        def test_row(timing_row):
            pass

        @pytest.mark.parametrize("cell", [1])
        def test_a_cell_of_its_own(cell):
            pass

        def test_plain():
            pass
        """
    )
    options = ("--models", MODEL, "--nodes", "2", "--strict-markers")
    project.runpytest(*options, "-m", "not dllama").assert_outcomes(passed=2, deselected=4)
    result = project.runpytest(*options, "-m", "dllama", "--collect-only")
    result.stdout.fnmatch_lines(["*4/6 tests collected (2 deselected)*"])
    assert not (project.path / "report").exists()
    project.runpytest("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.dllama: set by pytest-dllama on every test that reads measured cells; *"]
    )


def test_an_unknown_metric_of_a_marker(pytester: pytest.Pytester) -> None:
    """A marker is read when its test runs; its error names the marker."""
    pytester.makepyfile(
        """
        import pytest
        from pytest_dllama import fixtures

        @pytest.mark.dllama_threshold(tpot=3)
        def test_it(request):
            with pytest.raises(pytest.UsageError, match="dllama_threshold.*unknown metric 'tpot'"):
                fixtures.limits_of(request.node)
        """
    )
    pytester.runpytest("--strict-markers").assert_outcomes(passed=1)
