"""`.ci/publish`: reports go to a branch of a real repository, night after night."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.data import ROOT

AUTHOR = {f"GIT_{who}_{what}": "x@localhost" for who in ("AUTHOR", "COMMITTER")
          for what in ("NAME", "EMAIL")}  # fmt: skip


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, env={**os.environ, **AUTHOR}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(tmp_path, "clone", "--quiet", "remote.git", "clone")
    (tmp_path / "clone" / "code.py").write_text("pass\n")
    git(tmp_path / "clone", "add", "-A")
    git(tmp_path / "clone", "commit", "--quiet", "-m", "code")
    git(tmp_path / "clone", "push", "--quiet", "origin", "HEAD:main")
    return tmp_path / "clone"


def report(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("run.json", "report.en.html", "report.en.md", "trend.en.html", "night.md"):
        (folder / name).write_text(text)
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "tpot.svg").write_text(text)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / "big.log").write_text("log")
    return folder


def publish(clone: Path, folder: Path, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / ".ci/publish"), str(folder), name], cwd=clone, capture_output=True, text=True,
        env={**os.environ, **env}, timeout=900,
    )  # fmt: skip


def test_nights_of_two_clusters_share_a_branch(clone: Path, tmp_path: Path) -> None:
    for text, name in (("one", "hosted"), ("two", "hosted"), ("three", "pis")):
        done = publish(clone, report(tmp_path / "report", text), name)
        assert done.returncode == 0, done.stderr
    files = git(clone, "ls-tree", "-r", "--name-only", "origin/reports").split()
    assert {"index.html", ".nojekyll", "hosted/latest/night.md", "pis/latest/run.json"} <= set(
        files
    )
    pages = [name for name in files if name.endswith(("report.en.md", ".svg"))]
    assert sorted(pages) == [
        f"{name}/latest/{file}"
        for name in ("hosted", "pis")
        for file in ("pictures/tpot.svg", "report.en.md")
    ]
    assert not any("log" in name or "code" in name for name in files)
    assert git(clone, "show", "origin/reports:hosted/latest/night.md") == "two"
    page = git(clone, "show", "origin/reports:index.html")
    assert '<a href="hosted/latest/report.en.html">' in page
    assert '<a href="pis/latest/report.en.html">' in page
    assert '<a href="pis/latest/trend.en.html">' in page
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "worktree", "list").count("\n") == 1


def test_old_nights_leave(clone: Path, tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        publish(clone, report(tmp_path / "report", text), "hosted", KEEP="1")
    names = git(clone, "ls-tree", "--name-only", "origin/reports", "hosted/").split()
    assert len(names) == 2  # latest, and one night
    assert git(clone, "show", f"origin/reports:{names[0]}/night.md") == "three"


def test_nothing_measured_is_nothing_published(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = publish(clone, tmp_path / "empty", "hosted")
    assert done.returncode == 2
    assert "has no run.json: nothing was measured" in done.stderr
    assert "reports" not in git(clone, "branch", "-r")
