"""An environment with the wheel and with the plugins that people have beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data import MODELS
from tests.made_once import project_wheel

NEIGHBOURS = (
    "pytest-xdist",
    "pytest-rerunfailures",
    "pytest-repeat",
    "pytest-timeout",
    "pytest-randomly",
    "pytest-html",
    "pytest-testinfra",
    "pytest-codspeed",
    "pytest-forked",
    "pytest-socket",
)
SMALL = (
    *("--dllama-models", f"{MODELS / 'llama_q40.m'}:{MODELS / 'golden.t'}"),
    *("--dllama-prompt", "hello", "--dllama-warmup", "0", "--dllama-repeats", "1"),
    *("--dllama-steps", "24", "--dllama-report-format", "none"),
)
UNREACHABLE = ("NewConnectionError", "ConnectTimeoutError", "Name or service not known")
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Environment:
    """Its commands, and a project to run them in."""

    bin: Path
    project: Path

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env={**os.environ, "COLUMNS": "200", "PYTEST_ADDOPTS": ""},  # every plugin loads
        )

    def pytest(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("pytest", "-p", "no:cacheprovider", *arguments)


def make_environment(folder: Path) -> Path:
    """The `bin` folder of an environment that has everything; skips where nothing can be had."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    _pip(*pip, "--python", python, "install", "--quiet", project_wheel(), *NEIGHBOURS)
    return python.parent


def _pip(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode == 0:
        return
    if any(words in done.stderr for words in UNREACHABLE) and os.environ.get("CI") != "true":
        pytest.skip("the other plugins come from a package index, and none can be reached")
    pytest.fail(f"{command}\n{done.stdout}\n{done.stderr}", pytrace=False)
