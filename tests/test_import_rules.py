"""The rules of the house: who may import what."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data import ROOT

ENGINE = sorted((ROOT / "engine/dllama_engine").rglob("*.py"))
PLUGIN = sorted((ROOT / "pytest_dllama").rglob("*.py"))
AGENT = sorted((ROOT / "pytest_dllama/remote/agent").rglob("*.py"))
SUITES = sorted((ROOT / "suites").rglob("*.py"))

JUDGES = {"metrics", "stats", "verdict", "validity", "thresholds", "tolerance", "wire_truth"}
JUDGES |= {"text_check"}
ENGINE_MAY_IMPORT = {"numpy", "numba", "llvmlite"}
# package -> modules of pytest_dllama that may import it
ONLY = {
    "dllama_engine": {"backends/embedded"},
    "fabric": {"remote/connection"},
    "paramiko": {"remote/connection"},
    "jinja2": {"report"},
    "pytest": {"plugin", "fixtures"},
    "pytest_benchmark": {"benchmark_bridge"},
}
STDLIB = sys.stdlib_module_names


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, but for those under `if TYPE_CHECKING:`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield str(node.module), node.lineno


def _packages(path: Path) -> Iterator[tuple[str, int]]:
    return ((name.partition(".")[0], line) for name, line in _imports(path))


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", ENGINE, ids=_id)
def test_engine_needs_numpy_and_numba_only(path: Path) -> None:
    allowed = ENGINE_MAY_IMPORT | STDLIB | {"dllama_engine"}
    assert [(name, line) for name, line in _packages(path) if name not in allowed] == []


@pytest.mark.parametrize("path", PLUGIN, ids=_id)
def test_each_dependency_has_its_module(path: Path) -> None:
    module = path.relative_to(ROOT / "pytest_dllama").with_suffix("").as_posix()
    wrong = [
        (name, line) for name, line in _packages(path) if name in ONLY and module not in ONLY[name]
    ]
    assert wrong == []


@pytest.mark.parametrize("path", AGENT, ids=_id)
def test_the_agent_runs_on_any_python(path: Path) -> None:
    assert {name for name, _ in _packages(path)} <= STDLIB | {"pytest_dllama"}
    ours = {name for name, _ in _imports(path) if name.startswith("pytest_dllama")}
    assert all(name.startswith("pytest_dllama.remote.agent") for name in ours)


@pytest.mark.parametrize("path", PLUGIN, ids=_id)
def test_plugin_does_not_import_suites_or_tests(path: Path) -> None:
    assert {name for name, _ in _packages(path)}.isdisjoint({"suites", "tests", "training"})


@pytest.mark.parametrize("module", sorted(JUDGES))
def test_the_judges_are_tested_in_milliseconds(module: str) -> None:
    """Neither they nor what they import may need pytest, a process or the engine."""
    allowed = {"record", "events", "traces", *JUDGES}
    path = ROOT / "pytest_dllama" / f"{module}.py"
    if not path.exists():
        return
    ours = {name for name, _ in _imports(path) if name.startswith("pytest_dllama")}
    assert {name.removeprefix("pytest_dllama.") for name in ours} <= allowed
    assert {name for name, _ in _packages(path)} <= STDLIB | {"pydantic", "pytest_dllama"}


@pytest.mark.parametrize("path", SUITES, ids=_id)
def test_suites_use_fixtures_and_markers_only(path: Path) -> None:
    assert {name for name, _ in _packages(path)} <= {"pytest", "__future__"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    logic = (ast.If, ast.For, ast.While, ast.Assert, ast.Try, ast.ClassDef, ast.comprehension)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, logic)] == []


def test_the_rules_look_at_something() -> None:
    assert len(ENGINE) > 10
    assert len(PLUGIN) > 10
    assert len(AGENT) > 3
    assert len(SUITES) > 3
