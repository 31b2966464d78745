"""The rules of the house: rooms stand in layers, and each library has its room.

A room imports only from layers below its own; rooms of one layer do not know each other. What
stands under `TYPE_CHECKING` or inside a function counts too: a circle is one wherever it hides.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.data import ROOT

Layers = Sequence[Sequence[str]]

# From the top down. A name is a room (a folder) or a module of the package itself.
LAYERS: Mapping[str, Layers] = {
    "dllama_engine": (
        ("cli", "tools"),
        ("recovery",),
        ("cluster", "generation", "relay", "tracing"),
        ("loading",),
        ("transformer", "telemetry"),
        ("collectives",),
        ("program", "wire", "sharding", "synthetic", "text"),
        ("kernels", "formats", "injection", "memory_rate"),
        ("tables", "system"),
        ("errors", "arrays", "version"),
    ),
    "pytest_dllama": (
        ("plugin",),
        ("fixtures", "cli"),
        ("edge",),
        ("lab", "forensics"),
        ("backends",),
        ("hosts", "report", "verdict", "exports"),
        ("models", "history", "metrics", "validity"),
        ("config", "record", "events", "stats"),
        ("emulation",),
        ("files",),
        ("amounts", "errors", "stop_signals"),
    ),
    # Rooms within a room, by the same rule.
    "dllama_engine.kernels": (
        ("compiler",),
        ("run",),
        ("ops",),
        ("matmul", "layers", "streaming"),
        ("llvm", "reading"),
        ("entries", "cache"),
        ("image",),
        ("cpu", "sources"),
    ),
    "dllama_engine.cluster": (
        ("root", "worker"),
        ("worker_session",),
        ("service", "accounts", "greedy", "farewell"),
        ("setup", "summary"),
        ("session", "packet", "options"),
        ("placement",),
    ),
    "dllama_engine.collectives": (
        ("combine", "overlap", "logits", "traffic"),
        ("choice", "scatter"),
        ("registry",),
        ("algorithms", "rounds"),
        ("base",),
    ),
    "dllama_engine.wire": (
        ("clock",),
        ("links",),
        ("exchanges",),
        ("heartbeats", "counted"),
        ("failure_attribution",),
        ("error_frame", "peer", "trace", "connecting", "suspension"),
        ("frames",),
    ),
    "pytest_dllama.lab": (
        ("session",),
        ("pairs",),
        ("lab",),
        ("assembly",),
        ("machines",),
        ("requests", "builds", "power", "engines", "opened_models", "result_files"),
        ("progress", "checks"),
        ("cells",),
    ),
    "pytest_dllama.hosts": (
        ("fleet", "links"),
        ("ssh", "local"),
        ("packages", "host_keys"),
        ("memory_probe", "power", "controller", "inventory_file"),
        ("inventory", "command"),
        ("base", "terminal", "progress_state", "lines"),
        ("agent",),
    ),
    "pytest_dllama.report": (
        ("pages", "terminal"),
        ("tables", "plots", "lists"),
        ("rules",),
        ("sentences",),
        ("figures",),
        ("text",),
    ),
    "benchmarks": (
        ("__main__",),
        ("engine", "kernels", "wire", "emulation", "verdicts"),
        ("sessions",),
        ("page", "table"),
    ),
    "benchmarks.verdicts": (("alarm_simulation", "pair_noise", "proof"), ("simulation",)),
    "benchmarks.verdicts.proof": (
        ("__main__",),
        ("taking", "findings"),
        ("blocks",),
        ("journal",),
    ),
}
LARGEST_ROOM = 12  # modules, without __init__

# Who may know which library: of the standard library everybody may know everything.
MAY_KNOW: Mapping[str, tuple[str, ...]] = {
    "dllama_engine": (
        *("pytest_dllama.backends.embedded", "pytest_dllama.backends.embedded_options"),
        "pytest_dllama.models.engine_facts",
        *("pytest_dllama.files.user_files", "pytest_dllama.files.reasons"),
        *("pytest_dllama.files.locks", "pytest_dllama.config.exchange"),
    ),
    "fabric": ("pytest_dllama.hosts.ssh.connection",),
    "paramiko": ("pytest_dllama.hosts.ssh", "pytest_dllama.hosts.host_keys"),
    "invoke": ("pytest_dllama.hosts.ssh",),
    "jinja2": ("pytest_dllama.report.pages",),
    "pytest": (
        *("pytest_dllama.plugin", "pytest_dllama.fixtures", "pytest_dllama.edge"),
        "pytest_dllama.config",
    ),
    "pytest_benchmark": ("pytest_dllama.edge.benchmark_bridge",),
    "numba": ("dllama_engine",),
    "llvmlite": ("dllama_engine",),
    "numpy": ("dllama_engine", "pytest_dllama.stats"),
    "scipy": ("pytest_dllama.stats",),
    "matplotlib": ("pytest_dllama.report.plots.drawing",),
    "prometheus_client": ("pytest_dllama.exports.openmetrics",),
    "llmd_benchmark_report": ("pytest_dllama.exports.llmd",),
    "pydantic": ("pytest_dllama",),
    "rich": ("pytest_dllama",),
    "psutil": ("pytest_dllama",),
    "platformdirs": ("pytest_dllama",),
    "markupsafe": ("pytest_dllama.report",),
    "markdown_it": ("pytest_dllama.report.pages",),
}
JUDGES = ("stats", "metrics", "validity", "verdict")  # start no process, tested in milliseconds
PROCESSES = {"subprocess", "multiprocessing", "pytest", "socket"}
STDLIB = sys.stdlib_module_names | {"_typeshed"}  # types of it, for type checkers only
PACKAGES = {"dllama_engine": ROOT / "engine/dllama_engine", "pytest_dllama": ROOT / "pytest_dllama"}
PROGRAMS = {"benchmarks": ROOT / "benchmarks"}  # which are not installed, and may know anything


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module; `target` is the module of ours that it names, or a library's."""

    line: int
    target: str
    is_ours: bool


def _sources() -> Iterator[tuple[str, Path]]:
    """Every module of both packages and of the programs: its dotted name and its file."""
    for package, folder in {**PACKAGES, **PROGRAMS}.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if any(part.startswith(".") for part in parts):  # `make test-arm` keeps a Python there
                continue
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


FILES = dict(_sources())


@cache
def _imports(module: str) -> tuple[Import, ...]:
    """What a module imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [_import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(_import(inner if inner in FILES else str(node.module), node.lineno))
    return tuple(found)


def _import(name: str, line: int) -> Import:
    return Import(line, name, name.partition(".")[0] in {*PACKAGES, *PROGRAMS})


def _layer(layers: Layers, room: str) -> int:
    found = [i for i, rooms in enumerate(layers) if room in rooms]
    assert found, f"{room} has no layer: name it in LAYERS"
    return found[0]


def _arrows_up(module: str) -> Iterator[str]:
    """Imports of a module that the layers forbid."""
    for place, layers in LAYERS.items():
        if not module.startswith(f"{place}."):
            continue
        own = module.removeprefix(f"{place}.").partition(".")[0]
        for imported in _imports(module):
            if not imported.target.startswith(f"{place}."):
                continue
            other = imported.target.removeprefix(f"{place}.").partition(".")[0]
            if other != own and _layer(layers, own) >= _layer(layers, other):
                yield f"{module}:{imported.line} imports {imported.target}"


@pytest.mark.parametrize("module", FILES)
def test_no_arrow_goes_upward(module: str) -> None:
    assert list(_arrows_up(module)) == []


def test_no_circle() -> None:
    """Modules that import each other, over however many others."""
    done: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join((*path[path.index(module) :], module))}"
        if module in done:
            return
        for imported in _imports(module):
            if imported.target in FILES and imported.target != module:
                follow(imported.target, (*path, module))
        done.add(module)

    for module in FILES:
        follow(module, ())


INSTALLED = [module for module in FILES if module.partition(".")[0] in PACKAGES]


@pytest.mark.parametrize("module", INSTALLED)
def test_each_library_has_its_room(module: str) -> None:
    wrong = []
    for imported in _imports(module):
        library = imported.target.partition(".")[0]
        if library in STDLIB or library == module.partition(".")[0]:
            continue
        rooms = MAY_KNOW.get(library, ())
        if not any(module == room or module.startswith(f"{room}.") for room in rooms):
            wrong.append(f"line {imported.line} imports {imported.target}")
    assert wrong == []


@pytest.mark.parametrize("module", [m for m in FILES if ".hosts.agent" in m])
def test_the_agent_runs_on_any_python(module: str) -> None:
    for imported in _imports(module):
        if imported.is_ours:
            assert imported.target.startswith("pytest_dllama.hosts.agent")
        else:
            assert imported.target.partition(".")[0] in STDLIB


@pytest.mark.parametrize("room", JUDGES)
def test_the_judges_start_no_process(room: str) -> None:
    modules = [m for m in FILES if m.startswith(f"pytest_dllama.{room}")]
    for module in modules:
        known = {imported.target.partition(".")[0] for imported in _imports(module)}
        assert known.isdisjoint(PROCESSES), module


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("dllama_engine.kernels.")])
def test_compiled_code_is_made_of_what_the_digest_holds(module: str) -> None:
    """A constant from anywhere else would be frozen into machine code without being looked at."""
    room = module.removeprefix("dllama_engine.kernels.").partition(".")[0]
    if room in ("cache", "cpu", "sources", "image", "compiler"):  # not compiled themselves
        return
    ours = {imported.target for imported in _imports(module) if imported.is_ours}
    inside = ("dllama_engine.kernels", "dllama_engine.tables", "dllama_engine.errors")
    assert {name for name in ours if not name.startswith(inside)} == set()


def _inits() -> list[Path]:
    return [path for module, path in FILES.items() if path.name == "__init__.py"]


# Two say more than a docstring: numba's cache folder, and the face for other packages.
SPEAKING = ("llvm", "backends", "pytest_dllama")


@pytest.mark.parametrize("path", _inits(), ids=lambda path: path.parent.name)
def test_an_init_is_a_docstring(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert body, path
    assert isinstance(body[0], ast.Expr), path
    if path.parent.name not in SPEAKING:
        assert len(body) == 1, path


@pytest.mark.parametrize("path", _inits(), ids=lambda path: path.parent.name)
def test_a_room_is_not_crowded(path: Path) -> None:
    modules = [file.name for file in path.parent.glob("*.py") if not file.name.startswith("__")]
    assert len(modules) <= LARGEST_ROOM, modules


TEST_MODULE = re.compile(r"^from tests\.(?:\w+\.)*test_\w+ import", re.MULTILINE)


def test_no_test_module_is_imported() -> None:
    """What several of them need stands beside them, under a name of its own."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 300
    assert [file for file in files if TEST_MODULE.search(file.read_text(encoding="utf-8"))] == []


SUITES = sorted((ROOT / "suites").rglob("*.py"))


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_suites_use_fixtures_and_markers_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= {"pytest", "__future__"}
    logic = (ast.If, ast.For, ast.While, ast.Assert, ast.Try, ast.ClassDef, ast.comprehension)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, logic)] == []


def test_the_rules_look_at_something() -> None:
    assert len(FILES) > 150
    assert len(SUITES) > 3
    assert sum(len(_imports(module)) for module in FILES) > 1000
