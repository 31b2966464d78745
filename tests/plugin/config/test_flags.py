"""Spellings of options: who owns `--nodes`, and what is done for the others."""

from __future__ import annotations

import doctest

import pytest

from pytest_dllama.config import flags, ini_values
from tests.data import MODELS

A_CELL = "def test_it(cell):\n    pass\n"
MODEL = f"{MODELS / 'llama_q40.m'}:{MODELS / 'golden.t'}"
PLANNED = "dllama: 1 cell (llama_q40-2)*"
OWNER = "def pytest_addoption(parser):\n    parser.addoption('--nodes')\n"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.mkdir("cells").joinpath("test_cells.py").write_text(A_CELL)
    pytester.makeini(f"[pytest]\ndllama_models = {MODEL}\n")
    return pytester


def test_doctests() -> None:
    for module in (flags, ini_values):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "line",
    [
        ("cells", "--nodes", "2"),
        ("--nodes", "2", "cells"),
        ("--nodes=2", "cells"),
        ("cells", "--dllama-nodes", "2"),
        ("@more.txt", "cells"),
        ("-p", "pytest_dllama.plugin", "cells", "--nodes", "2"),
        ("-p", "no:benchmark", "--nodes", "2", "cells"),
    ],
    ids=" ".join,
)
def test_both_spellings_wherever_they_stand(project: pytest.Pytester, line) -> None:
    (project.path / "more.txt").write_text("--nodes\n2\n")
    result = project.runpytest_inprocess("--collect-only", *line)
    assert result.ret == 0
    result.stdout.fnmatch_lines([PLANNED])


def test_short_spellings_in_addopts(project: pytest.Pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nodes 2")
    project.runpytest_inprocess("--collect-only", "cells").stdout.fnmatch_lines([PLANNED])


@pytest.mark.parametrize("where", ["plugin", "conftest", "cells/conftest"])
def test_an_option_that_another_declares_is_theirs(project: pytest.Pytester, where: str) -> None:
    """An early plugin, the root's conftest, the conftest of the folder that is named."""
    (project.path / f"{where}.py").write_text(OWNER)
    project.syspathinsert()
    more = ("-p", "plugin") if where == "plugin" else ()
    theirs = "def test_theirs(request):\n    assert request.config.getoption('--nodes') == '9'\n"
    (project.path / "cells" / "test_theirs.py").write_text(theirs)
    result = project.runpytest_inprocess(
        *(*more, "cells", "--nodes", "9", "--dllama-nodes", "2", "-k", "theirs")
    )
    result.assert_outcomes(passed=1, deselected=1)
    result = project.runpytest_inprocess(
        *(*more, "cells", "--nodes", "9", "--dllama-nodes", "2", "--collect-only")
    )
    result.stdout.fnmatch_lines(
        [
            PLANNED,
            "dllama: --nodes is another plugin's or conftest's option here; ours is --dllama-nodes",
        ]
    )


def test_a_conftest_that_comes_late_may_declare_the_same_option(project: pytest.Pytester) -> None:
    deep = project.mkdir("deep")
    (deep / "conftest.py").write_text(OWNER)
    (deep / "test_deep.py").write_text("def test_deep():\n    pass\n")
    result = project.runpytest_inprocess("--nodes", "2", "-k", "deep")
    assert result.ret == 0
    result.assert_outcomes(passed=1, deselected=1)


def test_the_value_of_a_short_spelling_is_no_path_of_tests(project: pytest.Pytester) -> None:
    folder = project.mkdir("out")
    (folder / "conftest.py").write_text("raise RuntimeError('loaded')\n")
    result = project.runpytest_inprocess("--report", "out", "--collect-only", "cells")
    assert result.ret == 0
    assert "loaded" not in result.stdout.str() + result.stderr.str()


def test_an_option_of_nobody_is_refused_as_ever(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--node", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --node*"])


NATIVE = """
[{table}]
dllama_models = "{model}"
dllama_nodes = [2, 4]
dllama_steps = 16
dllama_temperature = 0.5
dllama_keep_workers = false
dllama_dllama_args = ["--collective", "star ring"]
"""


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="native tables came with pytest 9")
@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("pyproject.toml", "tool.pytest"),
        ("pytest.toml", "pytest"),
        ("pyproject.toml", "tool.pytest.ini_options"),
    ],
)
def test_values_of_toml_are_taken_as_they_are(pytester: pytest.Pytester, file, table) -> None:
    pytester.makepyfile(A_CELL)
    (pytester.path / file).write_text(NATIVE.format(table=table, model=MODEL))
    pytester.makeconftest(
        """
        from pytest_dllama.edge.stash import CONFIG_KEY

        def pytest_report_header(config):
            lab = config.stash[CONFIG_KEY]
            return f"{lab.temperature} {lab.keep_workers} {lab.dllama_args}"
        """
    )
    result = pytester.runpytest_inprocess("--collect-only", "-W", "error")
    result.stdout.fnmatch_lines(
        [
            "0.5 False ('--collective', 'star ring')",
            "dllama: 2 cells (llama_q40-2, llama_q40-4), 3 repeats of 16 steps*",
        ]
    )
    result = pytester.runpytest_inprocess("--collect-only", "-o", "dllama_steps=17")
    result.stdout.fnmatch_lines(["dllama: 2 cells (*), 3 repeats of 17 steps*"])


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="native tables came with pytest 9")
def test_a_table_where_a_value_must_stand(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(A_CELL)
    pytester.makepyprojecttoml("[tool.pytest]\ndllama_steps = { few = 3 }\n")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *pyproject.toml: dllama_steps: {'few': 3} cannot be*"])
