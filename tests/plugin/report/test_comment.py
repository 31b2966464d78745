"""The comment of a pull request: verdict first, the rest folded, never too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.files.report_folder import STEP_SUMMARY
from pytest_dllama.history.run_files import write_run
from pytest_dllama.report.pages import comment
from pytest_dllama.report.pages.language import LANGUAGES
from tests.data import REPORTS
from tests.plugin.report.report_runs import cell, run, verdict

SMALL = run([cell("a", n, [n, n + 0.1]) for n in (2, 4)])
LARGE = run([cell(f"model-{i}" + "x" * 40, n, [n]) for i in range(60) for n in (2, 4, 8)])


def test_the_regression_comes_first_and_the_rest_is_folded() -> None:
    text = comment.render(SMALL, "en", verdict(SMALL, "a-4"))
    lines = text.splitlines()
    assert lines[0] == comment.MARK
    assert lines[1] == "# REGRESSED: a-4 is 8.3% slower (TPOT)"
    top = text[: text.index("<details>")]
    assert "feed-forward on rank 3 (itself 31.0% slower)" in top
    assert "## Did it get slower?" in top
    folded = ("How does it scale?", "Is the output right?", "How good is the measurement?")
    for title in folded:
        assert f"<details><summary>{title}</summary>" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_comment_names_no_file_that_is_not_there(language: str) -> None:
    assert "![" not in comment.render(SMALL, language, verdict(SMALL, "a-4"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_comment_is_never_too_long(language: str) -> None:
    names = [f"{one.model}-{one.nodes}" for one in LARGE.cells]
    text = comment.render(LARGE, language, verdict(LARGE, *names))
    assert len(text) <= comment.LONGEST
    assert text.splitlines()[1].startswith("# ")
    assert text.count("<details>") == text.count("</details>")


def test_even_a_label_without_end_is_cut() -> None:
    record = run([cell("a", 2, [1])])
    text = comment.render(record, "en", verdict(record, base_label="m" * 80_000))
    assert len(text) <= comment.LONGEST
    assert text.endswith("…\n")


def test_the_command_prints_the_comment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STEP_SUMMARY, raising=False)
    path = str(REPORTS / "one_model.json")
    assert main(["report", path, "--format", "pr-comment"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{comment.MARK}\n# ")
    assert (
        main(["report", path, "--format", "pr-comment", "--lang", "ko", "-o", str(tmp_path)]) == 0
    )
    assert (tmp_path / "comment.ko.md").read_text(encoding="utf-8").startswith(comment.MARK)


def test_a_jobs_page_gets_it_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv(STEP_SUMMARY, str(page))
    run_file = write_run(SMALL, tmp_path / "run.json")
    assert main(["report", str(run_file), "--format", "md", "--lang", "ko"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{comment.MARK}\n# 통과")
    assert comment.write_step_summary(SMALL, "en", variables={}) == []


def test_the_verdict_of_the_same_session_is_found_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = write_run(SMALL, tmp_path / "run.json")
    judged = verdict(SMALL, "a-4")
    (tmp_path / "verdict.json").write_text(judged.model_dump_json(), encoding="utf-8")
    assert main(["report", str(run_file), "--format", "pr-comment"]) == 0
    assert "# REGRESSED: a-4" in capsys.readouterr().out
    later = judged.model_copy(update={"created_utc": "2025-01-03T03:04:05+00:00"})
    (tmp_path / "verdict.json").write_text(later.model_dump_json(), encoding="utf-8")
    assert main(["report", str(run_file), "--format", "pr-comment"]) == 0
    assert "# PASS: both cells\n" in capsys.readouterr().out
    given = ["--verdict", str(tmp_path / "verdict.json")]
    assert main(["report", str(run_file), "--format", "pr-comment", *given]) == 0
    assert "# REGRESSED: a-4" in capsys.readouterr().out


def test_png_pictures_come_in_both_themes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(REPORTS / "two_models.json")
    assert main(["report", path, "--format", "png", "-o", str(tmp_path)]) == 0
    names = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert {"tokens-per-s.light.png", "tokens-per-s.dark.png"} <= names
    assert all((tmp_path / "pictures" / name).stat().st_size > 1000 for name in names)
