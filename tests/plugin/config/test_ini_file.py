"""The ini file that commands read as pytest does, and the history that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.cli import bench
from pytest_dllama.cli.past.where import usual_folder
from pytest_dllama.config.ini_file import ini_file, ini_value
from pytest_dllama.history.places import default_folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\ndllama_history = kept\n"),
        ("tox.ini", "[pytest]\ndllama_history = kept\n"),
        ("setup.cfg", "[tool:pytest]\ndllama_history = kept\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\ndllama_history = "kept"\n'),
        ("pyproject.toml", '[tool.pytest]\ndllama_history = "kept"\n'),
        ("pytest.toml", '[pytest]\ndllama_history = "kept"\n'),
    ],
)
def test_commands_find_the_history_that_the_suites_keep(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(text)
    below = tmp_path / "project"
    below.mkdir()
    monkeypatch.chdir(below)
    assert usual_folder() == tmp_path / "kept"


@pytest.mark.parametrize("value", ["auto", "off", ""])
def test_no_folder_is_the_users_own(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ndllama_history = {value}\n")
    monkeypatch.chdir(tmp_path)
    assert usual_folder() == default_folder()


def test_the_nearest_file_that_speaks_to_pytest_counts(tmp_path: Path) -> None:
    outer = tmp_path / "pytest.ini"
    outer.write_text("[pytest]\ndllama_history = outer\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")  # says nothing to pytest
    (inner / "setup.cfg").write_text("no ini file\n")
    assert ini_file(inner) == outer
    (inner / "tox.ini").write_text("[pytest]\naddopts = -q\n")
    assert ini_file(inner) == inner / "tox.ini"
    assert ini_value(inner / "tox.ini", "dllama_history") is None


def test_bench_of_a_checkout_reads_the_ini_file_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "find_spec", lambda name: None)  # no wheel
    path = tmp_path.resolve() / "pytest.ini"
    path.touch()
    monkeypatch.chdir(tmp_path)
    suites, *words = bench.suites_arguments()
    assert words == ["-c", str(path), "--rootdir", str(path.parent)]
    monkeypatch.chdir(Path(suites))
    assert bench.suites_arguments() == [suites]
