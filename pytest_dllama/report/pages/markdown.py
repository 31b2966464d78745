"""Run record -> `report.ko.md` and `report.en.md`: the only module that knows Jinja2.

What is said, and in which order, is the document's; how a block looks in Markdown and how it is
worded comes from templates/: one layout of blocks, a word list and sentence macros a language. A
value that nobody formatted cannot slip in: an undefined name, None or a bare float in a template is
an error.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures import quantities
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.document import report
from pytest_dllama.report.pages.writer import Writer
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.text import markdown

LANGUAGES = ("ko", "en")
_LAYOUT = "report.md.j2"


class ReportError(Exception):
    """The report cannot be written; the message says why and what to do."""


def write_reports(run: RunRecord, folder: Path, languages: Sequence[str] = LANGUAGES) -> list[Path]:
    """Write `report.LANG.md` for each language into `folder`, each whole or not at all."""
    texts = [(language, render(run, language)) for language in languages]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for language, text in texts:
        path = folder / f"report.{language}.md"
        _write_whole(path, text)
        paths.append(path)
    return paths


def render(run: RunRecord, language: str) -> str:
    """The report's Markdown."""
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ReportError(f"no report language {language!r}; there are {known}")
    environment = _environment(language, templates_folder())
    document = report(RunView.of(run))
    text = environment.get_template(_LAYOUT).render(document=document)
    return markdown.tidy(text)


def templates_folder() -> Path:
    """Where the templates are: inside the installed package, else at the checkout's root."""
    package = Path(__file__).resolve().parents[2]
    places = (package / "templates", package.parent / "templates")
    for place in places:
        if (place / _LAYOUT).is_file():
            return place
    tried = " and ".join(str(place) for place in places)
    raise ReportError(
        f"report templates not found ({_LAYOUT} is missing in {tried}); "
        "reinstall pytest-dllama, or run from a complete checkout"
    )


def load_words(language: str, folder: Path) -> dict[str, Any]:
    """The word list of a language."""
    with (folder / language / "words.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _environment(language: str, folder: Path) -> jinja2.Environment:
    # Not HTML: the loader's autoescaping is used to tell ready Markdown (Markup) from raw text,
    # which `finalize` escapes for Markdown.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.do"],
    )
    words = load_words(language, folder)

    def macro(kind: type[Sentence]) -> Callable[[Sentence], str]:
        room = kind.__module__.rpartition(".")[2]
        module = environment.get_template(f"{language}/sentences/{room}.md.j2").module
        found: Callable[[Sentence], str] = getattr(module, kind.macro())
        return found

    writer = Writer(words, macro)
    environment.filters.update(writer.filters())
    environment.globals.update(
        words=_as_markdown(words),
        speed_keys=tuple(quantity.key for quantity in quantities.SPEED),
        say=writer.say,
        table=writer.table,
        piece=writer.piece,
        quantities=quantities,
        code_block=writer.code_block,
    )
    return environment


def _as_markdown(words: Mapping[str, Any]) -> dict[str, Any]:
    """The word list marked as ready Markdown, so that `**` in it stays."""
    return {
        key: _as_markdown(value) if isinstance(value, Mapping) else Markup(value)
        for key, value in words.items()
    }


def _finalize(value: object) -> object:
    """What `{{ ... }}` may print: Markdown as it is, text escaped, whole numbers; nothing else."""
    if isinstance(value, Markup | jinja2.Undefined):
        return value
    if isinstance(value, str):
        return markdown.escape(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ReportError(f"template prints {value!r}, which no filter has formatted")


def _write_whole(path: Path, text: str) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
