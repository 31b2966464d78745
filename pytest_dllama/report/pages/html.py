"""The document as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from markupsafe import Markup

from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.document import Document, report
from pytest_dllama.report.pages.language import environment_of, templates_folder
from pytest_dllama.report.plots.drawing.svg import inline
from pytest_dllama.report.plots.drawing.theme import dark_rules

LAYOUT = "html/report.html.j2"


def render(
    run: RunRecord,
    language: str,
    verdict: VerdictFile | None,
    drawn: Mapping[str, str],
    undrawn: Mapping[str, str],
) -> str:
    """The report as a page; `drawn` are the pictures as SVG.

    Raises:
        ReportError: a language that there is not.
    """
    return page(report(RunView.of(run, verdict), undrawn), language, drawn)


def page(document: Document, language: str, drawn: Mapping[str, str]) -> str:
    """Any document as a page.

    Raises:
        ReportError: a language that there is not.
    """
    return (
        environment_of(language)
        .get_template(LAYOUT)
        .render(
            document=document,
            style=_asset("page.css"),
            script=_asset("page.js"),
            dark_pictures=Markup(dark_rules()),
            pictures={name: Markup(inline(svg)) for name, svg in drawn.items()},
        )
    )


@cache
def _asset(name: str) -> Markup:
    return Markup((templates_folder() / "html" / name).read_text(encoding="utf-8"))
