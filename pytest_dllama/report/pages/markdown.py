"""The document as Markdown, its pictures beside it in `pictures/`."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.document import report
from pytest_dllama.report.pages.language import LAYOUT, environment_of
from pytest_dllama.report.text import markdown


def render(
    run: RunRecord,
    language: str,
    verdict: VerdictFile | None = None,
    undrawn: Mapping[str, str] | None = None,
) -> str:
    """The report's Markdown; `undrawn` names pictures that drawing failed of.

    Raises:
        ReportError: a language that there is not.
    """
    environment = environment_of(language)
    document = report(RunView.of(run, verdict), undrawn)
    text = environment.get_template(LAYOUT).render(document=document)
    return markdown.tidy(text)
