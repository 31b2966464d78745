"""`pytest-dllama trend`: on a terminal, as a page, and with the commits between the nights."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.history.store import RunStore
from pytest_dllama.lab.builds.commits import commits_between
from pytest_dllama.record.run import Revision
from tests.plugin.history.night_runs import CLUSTER, cell, night_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = RunStore(tmp_path / "h", CLUSTER)
    for night in range(7):
        cells = [cell([10.0 if night < 4 else 12.0]), cell([20.0], nodes=4)]
        store.add(night_run(night, cells, revision=None))
    return tmp_path / "h"


def test_on_a_terminal_it_is_markdown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", "--history", str(folder), "--metric", "tpot_ms"]) == 0
    out = capsys.readouterr().out
    rows = [line.split("|") for line in out.splitlines() if line.startswith("| tiny")]
    assert [[text.strip() for text in row[1:7]] for row in rows] == [
        ["tiny-2", "`tpot_ms`", "▂▂▂▂███", "20.0%", "worse", "10.00 ms"],
        ["tiny-4", "`tpot_ms`", "▅▅▅▅▅▅▅", "0.0%", "alike", "20.00 ms"],
    ]
    assert "No other commit, no alarm, no decision." in out


def test_cells_and_nights_can_be_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--history", str(folder), "--metric", "tpot_ms", "--nodes", "2", "-n", "3"]
    assert main(["trend", *words, "--lang", "ko"]) == 0
    out = capsys.readouterr().out
    assert "야간 실행 3회, 시계열 1개." in out
    assert "tiny-4" not in out
    assert main(["trend", *words[:2], "-n", "0"]) == 0
    assert "Nights: 7, 2026-01-01" in capsys.readouterr().out


def test_into_a_folder_it_is_pages(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--history", str(folder), "-o", str(tmp_path / "out"), "--lang", "en"]
    assert main(["trend", *words]) == 0
    paths = [tmp_path / "out" / f"trend.en.{form}" for form in ("md", "html")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths]
    assert paths[1].read_text(encoding="utf-8").count("<svg") == 12


def test_a_history_without_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trend", "--history", str(tmp_path)]) == 0
    assert "There is no sound run to show." in capsys.readouterr().out


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def commits(tmp_path: Path) -> list[str]:
    """Three commits of a checkout."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git(checkout, "init", "--quiet")
    found = []
    for subject in ("first", "second | piped", "third"):
        git(checkout, "commit", "--quiet", "--allow-empty", "-m", subject)
        found.append(git(checkout, "rev-parse", "HEAD"))
    return found


def test_commits_between_two_nights_are_named(
    tmp_path: Path, commits: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = RunStore(tmp_path / "h", CLUSTER)
    for night, commit in enumerate((commits[0], commits[2])):
        revision = Revision(commit=commit, committed_utc="-", subject="told")
        store.add(night_run(night, [cell([10.0])], revision=revision))
    monkeypatch.chdir(tmp_path / "checkout")
    assert main(["trend", "--history", str(tmp_path / "h")]) == 0
    assert f"{commits[2][:7]} third; {commits[1][:7]} second \\| piped" in capsys.readouterr().out


def test_a_checkout_that_does_not_know_them_says_nothing(
    tmp_path: Path, commits: list[str]
) -> None:
    checkout = tmp_path / "checkout"
    assert len(commits_between(checkout, commits[0], commits[2])) == 2
    assert commits_between(checkout, commits[0], "a" * 40) == ()
    assert commits_between(checkout, "--output=hacked", commits[0]) == ()
    assert commits_between(tmp_path, commits[0], commits[2]) == ()
    assert not list(checkout.glob("*hacked*"))
