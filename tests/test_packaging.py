"""The wheel as a stranger gets it: built, installed into an empty environment, all commands run."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.made_once import project_wheel

pytestmark = pytest.mark.long

PROMPT = "One morning, Mina"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; its standard output, or a failure that shows all it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel() -> Path:
    return project_wheel()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    run(*pip, "--disable-pip-version-check", "install", "--quiet", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_everything_a_user_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "dllama_engine/cli/main.py",
        "dllama_engine/models/tiny.m",
        "dllama_engine/models/tiny.t",
        "dllama_engine/models/tiny.md",
        "pytest_dllama/plugin.py",
        "pytest_dllama/templates/report.md.j2",
        "pytest_dllama/suites/thresholds.toml",
    ):
        assert needed in names
    assert any(name.startswith("pytest_dllama/suites/test_") for name in names)
    assert not any(name.startswith(("tests/", "training/", "benchmarks/")) for name in names)


def test_the_wheel_alone_runs_the_engine(installed: Path, tmp_path: Path) -> None:
    shown = run(
        *(installed / "dllama-py", "inference", "--model", "tiny"),
        *("--prompt", PROMPT, "--steps", "24"),
        cwd=tmp_path,
    )
    assert "🔶 Pred" in shown
    assert "Prediction\n" in shown


def test_the_wheel_alone_runs_the_suites_and_renders_their_report(
    installed: Path, tmp_path: Path
) -> None:
    run(
        *(installed / "pytest", "--pyargs", "pytest_dllama.suites", "--nodes", "2"),
        *("--models", "tiny", "--steps", "16", "--repeats", "1", "--report", "out"),
        cwd=tmp_path,
    )
    report = (tmp_path / "out" / "report.en.md").read_text()
    assert PROMPT in report
    run(installed / "pytest-dllama", "report", "out/run.json", "-o", "again", cwd=tmp_path)
    assert (tmp_path / "again" / "report.en.md").read_text() == report


def test_a_suite_of_ones_own_does_not_notice_the_plugin(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): assert True\n")
    shown = run(installed / "pytest", "-q", "test_own.py", cwd=tmp_path)
    assert "1 passed" in shown
    assert "dllama" not in shown
