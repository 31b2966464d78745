"""`pytest-dllama report`: a run file as Markdown, HTML, a pull request's comment, or pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.verdict_files import read_verdict, verdict_beside
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.pages import comment
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.reports import FORMATS, PICTURES, write_pngs, write_reports

COMMENT, PNG = "pr-comment", "png"
ALL_FORMATS = (*FORMATS, COMMENT, PNG)


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    report = commands.add_parser(
        "report",
        help="write the report of a run: Markdown, HTML, a comment, pictures",
        description="Write report.LANG.md and report.LANG.html from a run file, and from it alone; "
        "with the verdict of the same session, if there is one beside it. pr-comment goes to the "
        "standard output unless -o is given. Where GITHUB_STEP_SUMMARY is set, the comment is "
        "appended to that file too.",
        epilog="example: pytest-dllama report report/run.json -o report --lang en",
    )
    report.add_argument("run", metavar="RUN.json", type=Path, help="the run file")
    report.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="folder to write into, made if missing (default: the run file's own)",
    )
    report.add_argument(
        "--lang",
        metavar="LANG[,LANG]",
        type=_several("report language", LANGUAGES),
        default=None,
        help=f"languages to write, of {','.join(LANGUAGES)} (default: all; of a comment: en)",
    )
    report.add_argument(
        "--format",
        metavar="FORMAT[,FORMAT]",
        type=_several("report format", ALL_FORMATS),
        default=FORMATS,
        help=f"what to write, of {','.join(ALL_FORMATS)} (default: {','.join(FORMATS)})",
    )
    report.add_argument(
        "--verdict",
        metavar="VERDICT.json",
        type=Path,
        help="verdict of this run against a baseline (default: verdict.json beside the run file, "
        "if it is of the same session)",
    )
    report.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    run = read_run(arguments.run)
    beside: Path = arguments.run.parent
    given: Path | None = arguments.verdict
    verdict = read_verdict(given) if given is not None else verdict_beside(run, beside)
    folder: Path = arguments.output if arguments.output is not None else beside
    files = [name for name in arguments.format if name in FORMATS]
    if files:
        languages = arguments.lang or LANGUAGES
        for path in write_reports(run, folder, languages, files, verdict):
            print(path)
    if PNG in arguments.format:
        _pictures(run, folder, verdict)
    if COMMENT in arguments.format:
        _comments(run, arguments, verdict)
    comment.write_step_summary(run, (arguments.lang or ("en",))[0], verdict)
    return 0


def _pictures(run: RunRecord, folder: Path, verdict: VerdictFile | None) -> None:
    paths, undrawn = write_pngs(run, folder / PICTURES, verdict)
    for path in paths:
        print(path)
    for name, error in undrawn.items():
        print(f"pytest-dllama: {name} could not be drawn: {error}", file=sys.stderr)


def _comments(run: RunRecord, arguments: argparse.Namespace, verdict: VerdictFile | None) -> None:
    for language in arguments.lang or ("en",):
        text = comment.render(run, language, verdict)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            print(write_whole(arguments.output / f"comment.{language}.md", text))


def _several(what: str, choices: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A parser of words separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        unknown = [word for word in words if word not in choices]
        if unknown or not words:
            found = ", ".join(unknown) or "nothing"
            raise argparse.ArgumentTypeError(f"{found} is no {what}; use {', '.join(choices)}")
        return words

    return parse
