"""`pytest-dllama bench`: what is pytest's goes to pytest as it is."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.cli import bench
from pytest_dllama.cli.main import main
from pytest_dllama.config.options import SETTINGS
from tests.data import MODELS

MODEL = f"{MODELS / 'llama_q40.m'}:{MODELS / 'golden.t'}"


def _bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_dllama.cli", "bench", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)


def test_doctests() -> None:
    assert doctest.testmod(bench).failed == 0


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--nodes", "2", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "examples: pytest-dllama bench --nodes 2,4 --models tiny" in " ".join(text.split())
    for setting in SETTINGS:
        assert f"  {setting.flag} {setting.form}".rstrip() in text.splitlines()


def test_the_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "run the suites that came with the package" in capsys.readouterr().out


def test_all_arguments_go_to_pytest(tmp_path: Path) -> None:
    """In a folder with a package of the suites' name, and nothing of ours."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "__init__.py").write_text("raise RuntimeError('theirs')\n")
    arguments = ("--nodes", "2", "--models", MODEL, "--collect-only", "-k", "rct or output")
    done = _bench(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dllama: 1 cell (llama_q40-2)" in done.stdout
    assert re.search(r"\b2/\d+ tests collected", done.stdout)


def test_the_exit_status_is_pytests(tmp_path: Path) -> None:
    done = _bench(tmp_path, "--nodes", "0")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --nodes 0: 0 is no cluster" in done.stderr


def test_the_other_commands_take_no_words_of_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "run.json", "--nodes", "2"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --nodes 2" in capsys.readouterr().err


def test_without_suites_the_places_are_named(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    monkeypatch.setattr(bench.pytest_dllama, "__file__", str(tmp_path / "a" / "__init__.py"))
    assert main(["bench", "--nodes", "2"]) == 2
    error = capsys.readouterr().err
    assert f"neither in the package pytest_dllama.suites nor in {tmp_path / 'suites'}" in error
