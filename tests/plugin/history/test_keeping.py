"""Every run of the suites is kept, outside of the folder of its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.config.options import SETTINGS
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.run_files import read_run
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL

OPTIONS = [
    *("--nodes", "1", "--repeats", "1", "--steps", "16", "--models", SMALL_MODEL),
    *("--report-format", "none"),
]


def measure(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(ROOT / "suites")]
    done = subprocess.run(
        [*command, "-k", "test_ttft", *OPTIONS, *options],
        cwd=folder, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_runs_are_kept_and_the_oldest_leave(tmp_path: Path) -> None:
    for _ in range(3):
        out = measure(tmp_path, "--history", "kept", "--history-keep", "2,30")
    runs = sorted((tmp_path / "kept").glob("*/runs/*.json"))
    assert len(runs) == 2
    assert f"history:  {runs[-1]}" in out
    assert read_run(runs[-1]) == read_run(tmp_path / "report" / "run.json")


def test_nothing_is_kept_where_that_is_wanted(tmp_path: Path) -> None:
    assert "history:" not in measure(tmp_path, "--history", "off")
    assert not list(tmp_path.rglob("runs"))


def test_a_run_that_was_slowed_down_on_purpose_is_not_kept(tmp_path: Path) -> None:
    out = measure(tmp_path, "--history", "kept", "--inject", "tpot=5%", "--benchmark-autosave")
    assert "history:  not kept: slowed down on purpose (--inject tpot=5%)" in out
    assert not list(tmp_path.rglob("runs"))
    (saved,) = tmp_path.glob(".benchmarks/**/*.json")
    assert json.loads(saved.read_text())["benchmarks"] == []
    run = read_run(tmp_path / "report" / "run.json")
    assert run.request.inject == "tpot=5%"
    commands = run.cells[0].commands
    assert commands is not None
    assert "--inject" in commands.root
    assert sum(part.ms for part in run.cells[0].samples[0].parts if part.rank == 0) > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", r"--history-keep '5': write two whole numbers, as in 1000,730"),
        ("5,x", r"--history-keep x is no whole number"),
        ("0,5", r"--history-keep 0 is too small; the smallest is 1"),
    ],
)
def test_a_retention_that_cannot_be_is_refused(text: str, message: str) -> None:
    (setting,) = (s for s in SETTINGS if s.name == "history-keep")
    with pytest.raises(ConfigError, match=message):
        setting.parse(text)
