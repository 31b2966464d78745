"""The report as a comment of a pull request: verdict first, the rest folded, of bounded length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_dllama.files.report_folder import STEP_SUMMARY
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import Block, Details, Picture, folded
from pytest_dllama.report.pages.document import Document
from pytest_dllama.report.pages.language import LAYOUT, environment_of
from pytest_dllama.report.pages.sections import answer, questions
from pytest_dllama.report.text import markdown

LONGEST = 65_000  # characters; GitHub takes 65 536
MARK = "<!-- pytest-dllama report -->"  # by which a job finds its own comment again


def render(run: RunRecord, language: str, verdict: VerdictFile | None = None) -> str:
    """The comment's Markdown, without pictures: a comment has no place for files.

    Raises:
        ReportError: a language that there is not.
    """
    view = RunView.of(run, verdict)
    top = [*answer.first_screen(view), *questions.slower(view)]
    rest = [
        *folded(questions.scales(view)),
        *folded(questions.token_time(view)),
        *folded(questions.right(view)),
        *folded(questions.trusted(view, {})),
        *folded(questions.to_do(view)),
    ]
    for kept in range(len(rest), -1, -1):
        text = _markdown(view, [*top, *rest[:kept]], language)
        if len(text) <= LONGEST:
            return text
    return _cut(text)


def write_step_summary(
    run: RunRecord,
    language: str,
    verdict: VerdictFile | None = None,
    variables: Mapping[str, str] = os.environ,
) -> list[Path]:
    """Append the comment to the job's page where there is one; the file, or nothing."""
    name = variables.get(STEP_SUMMARY)
    if not name:
        return []
    with Path(name).open("a", encoding="utf-8") as file:
        file.write(render(run, language, verdict) + "\n")
    return [Path(name)]


def _markdown(view: RunView, blocks: Sequence[Block], language: str) -> str:
    document = Document(answer.title(view), tuple(_without_pictures(blocks)))
    text = environment_of(language).get_template(LAYOUT).render(document=document)
    return f"{MARK}\n{markdown.tidy(text)}"


def _without_pictures(blocks: Iterable[Block]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Details):
            yield Details(block.heading, tuple(_without_pictures(block.blocks)))
        elif not isinstance(block, Picture):
            yield block


def _cut(text: str) -> str:
    """Whole lines up to the limit."""
    lines, length = [], 0
    for line in text.split("\n"):
        length += len(line) + 1
        if length > LONGEST - 2:
            break
        lines.append(line)
    return "\n".join([*lines, "…", ""])
