from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama import __version__
from pytest_dllama.cli.main import main
from pytest_dllama.report.pages.reports import FORMATS
from tests.data import REPORTS

RUN = REPORTS / "one_model.json"


def test_report_writes_both_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(RUN), "-o", str(tmp_path)]) == 0
    written = [
        tmp_path / f"report.{language}.{kind}" for language in ("ko", "en") for kind in FORMATS
    ]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    golden = RUN.with_name("one_model.ko.md").read_text(encoding="utf-8")
    assert written[0].read_text(encoding="utf-8") == golden


def test_report_goes_beside_the_run_file(tmp_path: Path) -> None:
    copy = tmp_path / "run.json"
    copy.write_bytes(RUN.read_bytes())
    assert main(["report", str(copy), "--lang", "en", "--format", "md"]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["pictures", "report.en.md", "run.json"]


def test_unreadable_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "gone.json"
    assert main(["report", str(missing)]) == 2
    assert f"pytest-dllama: {missing}: cannot be read" in capsys.readouterr().err


def test_folder_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert main(["report", str(RUN), "-o", str(blocked)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"pytest-dllama: {blocked / 'pictures'}")
    assert said.endswith(": Not a directory\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["report", "x.json", "--lang", "ko,fr"], "fr is no report language; use ko, en"),
        (["report", "x.json", "--lang", ","], "nothing is no report language"),
        (
            ["report", "x.json", "--format", "pdf"],
            "pdf is no report format; use md, html, pr-comment, png",
        ),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_explained(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for option, text in (("--version", f"pytest-dllama {__version__}"), ("--help", "report")):
        with pytest.raises(SystemExit) as exit_:
            main([option])
        assert exit_.value.code == 0
        assert text in capsys.readouterr().out
