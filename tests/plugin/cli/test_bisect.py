"""`git bisect run pytest-dllama bench --bisect` on a real repository with a slow commit in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dllama.cli import bench
from pytest_dllama.lab.builds.checkout import builds_folder
from tests.data import ROOT

PARTS = ("engine", "pytest_dllama", "suites", "templates", "pyproject.toml", "README.md")
# Far beyond the noise of any busy machine, as the slow commit is: there requests of a few
# milliseconds were found to vary threefold.
LIMITS = """
[defaults]
ttft_s = { worse = "99900%" }
tpot_ms = { worse = "1900%" }
rct_s = { worse = "99900%" }
"""
SLOW = """

import time as _time

_quick = Root.forward


def _slow(self, *arguments, **named):
    _time.sleep(0.25)
    return _quick(self, *arguments, **named)


Root.forward = _slow
Root.decode_greedily = lambda self, *arguments: iter(())  # each token by forward
"""


class Repository:
    """Commits of a copy of this project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        command = ["git", "-C", str(self.folder), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[tuple[Repository, list[str]]]:
    """Five commits, of which the fourth is slow."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    (folder / ".gitignore").write_text("__pycache__/\n")
    repository = Repository(folder)
    commits = [repository.commit("good")]
    for n in (1, 2):
        (folder / "NOTES").write_text(f"{n}\n")
        commits.append(repository.commit(f"notes {n}"))
    root = folder / "engine/dllama_engine/cluster/root.py"
    root.write_text(root.read_text() + SLOW)
    commits.append(repository.commit("faster, I think"))
    (folder / "NOTES").write_text("3\n")
    commits.append(repository.commit("notes 3"))
    yield repository, commits
    for build in builds_folder().glob(f"{commits[0][:16]}*"):
        shutil.rmtree(build) if build.is_dir() else build.unlink()


@pytest.mark.long
def test_the_slow_commit_is_found(history: tuple[Repository, list[str]], tmp_path: Path) -> None:
    repository, commits = history
    (tmp_path / "limits.toml").write_text(LIMITS)
    tested = f"{repository.folder}{os.pathsep}{repository.folder / 'engine'}"
    command = [
        *("git", "bisect", "run", sys.executable, "-P", "-m", "pytest_dllama.cli", "bench"),
        *("--bisect", "--baseline", f"git:.@{commits[0]}", "--nodes", "1", "--models", "tiny"),
        *("--steps", "12", "--pairs", "3,6,10", "--thresholds", str(tmp_path / "limits.toml")),
        *("--report", str(tmp_path / "report"), "--history", "off", "--report-format", "none"),
        *("-p", "no:cacheprovider", "-p", "no:benchmark", "-k", "tpot"),
    ]
    repository.git("bisect", "start", commits[-1], commits[0])
    done = subprocess.run(
        command,
        cwd=repository.folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": tested},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert f"{commits[3]} is the first bad commit" in said
    log = repository.git("bisect", "log")
    assert "# skip" not in log, said
    assert "# good: [" + commits[2] in log


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--bisect"], 125),  # no baseline: a usage error of pytest
        (["--bisect", "--baseline", "git:no-such-revision", "--nodes", "1"], 125),
        (["--bisect", "--baseline", "self", "--nodes", "1", "-k", "no_such_test"], 125),
    ],
)
def test_what_keeps_pytest_from_a_verdict_is_no_bad_commit(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-m", "pytest_dllama.cli", "bench", *arguments]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize(("words", "code"), [(["--bisect"], 125), ([], 1)])
def test_a_revision_of_the_tool_that_does_not_import_is_no_bad_commit(
    words: list[str], code: int, tmp_path: Path
) -> None:
    room = tmp_path / "pytest_dllama" / "cli"
    room.mkdir(parents=True)
    shutil.copy(ROOT / "pytest_dllama" / "cli" / "__main__.py", room)
    (room / "main.py").write_text("def (\n")
    for folder in (room.parent, room):
        (folder / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-S", "-m", "pytest_dllama.cli", "bench", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    assert "SyntaxError" in done.stderr


def test_a_plugin_that_does_not_load_is_no_bad_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pytest_dllama.plugin", None)
    from pytest_dllama.cli.main import main

    assert main(["bench", "--bisect", "--baseline", "self"]) == 125
    assert "pytest_dllama.plugin" in capsys.readouterr().err


def test_without_bisect_the_status_is_pytests(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.append(words))
    from pytest_dllama.cli.main import main

    main(["bench", "--nodes", "2"])
    assert became[0][-2:] == ["--nodes", "2"]
    assert bench.BISECT_FLAGS == ("--bisect", "--dllama-bisect")


def test_a_bisection_that_is_stopped_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken_off = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    assert bench._bisect_status(broken_off) == 130
    assert "the same `git bisect run` goes on here" in capsys.readouterr().err
