"""Run file -> report files: Markdown and HTML in each language, pictures beside the Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages import html, markdown
from pytest_dllama.report.pages.language import LANGUAGES, picture_suffix, picture_words
from pytest_dllama.report.plots import gallery
from pytest_dllama.report.plots.drawing import draw
from pytest_dllama.report.plots.drawing.theme import DARK, LIGHT
from pytest_dllama.report.plots.drawing.words import in_words

Format = Literal["md", "html"]
FORMATS: tuple[Format, ...] = ("md", "html")
PICTURES = "pictures"
THEMES = {"light": LIGHT, "dark": DARK}


def write_reports(
    run: RunRecord,
    folder: Path,
    languages: Sequence[str] = LANGUAGES,
    formats: Sequence[str] = FORMATS,
    verdict: VerdictFile | None = None,
) -> list[Path]:
    """Write `report.LANG.md` and `report.LANG.html`, each file whole or not at all."""
    drawn, undrawn = drawings(RunView.of(run, verdict))
    texts: list[tuple[str, str]] = []
    for language in languages:
        if "md" in formats:
            texts.append(
                (f"report.{language}.md", markdown.render(run, language, verdict, undrawn))
            )
        names = {model.name for model in run.models}
        worded = in_words(drawn, picture_words(language), names)
        if "html" in formats:
            page = html.render(run, language, verdict, worded, undrawn)
            texts.append((f"report.{language}.html", page))
        if "md" in formats:
            for name, svg in worded.items():
                file = f"{name}{picture_suffix(language)}.svg"
                write_whole(folder / PICTURES / file, svg)
    return [write_whole(folder / name, text) for name, text in texts]


def drawings(view: RunView) -> tuple[dict[str, str], dict[str, str]]:
    """(name -> SVG, name -> why it could not be drawn) of every picture that the run gives."""
    drawn: dict[str, str] = {}
    undrawn: dict[str, str] = {}
    for name, chart in gallery.charts(view).items():
        try:
            drawn[name] = draw.svg(chart)
        except Exception as error:  # a page without a picture is better than none
            undrawn[name] = f"{type(error).__name__}: {error}"
    return drawn, undrawn


def write_pngs(
    run: RunRecord, folder: Path, verdict: VerdictFile | None = None
) -> tuple[list[Path], Mapping[str, str]]:
    """Write every picture as `NAME.light.png` and `NAME.dark.png`; also what could not be drawn."""
    paths: list[Path] = []
    undrawn: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, chart in gallery.charts(RunView.of(run, verdict)).items():
        for theme, colours in THEMES.items():
            try:
                picture = draw.png(chart, colours)
            except Exception as error:
                undrawn[name] = f"{type(error).__name__}: {error}"
                continue
            path = folder / f"{name}.{theme}.png"
            path.write_bytes(picture)
            paths.append(path)
    return paths, undrawn
