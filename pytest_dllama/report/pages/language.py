"""One language of the report: its word list and sentence macros; the only module of Jinja2.

A value that nobody formatted cannot slip into a page: an undefined name, None or a bare float in a
template is an error. A further language is one more folder of templates/ and its name in LANGUAGES.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pytest_dllama.errors import ToldError
from pytest_dllama.report.figures import quantities
from pytest_dllama.report.figures.token_time import PART_NAMES
from pytest_dllama.report.pages.writer import Writer
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.text import markdown
from pytest_dllama.report.text.told import Told

LANGUAGES = ("ko", "en")
LAYOUT = "report.md.j2"


class ReportError(ToldError):
    """The report cannot be written; the message says why and what to do."""


def templates_folder() -> Path:
    """Where the templates are: inside the installed package, else at the checkout's root.

    Raises:
        ReportError: in neither.
    """
    package = Path(__file__).resolve().parents[2]
    places = (package / "templates", package.parent / "templates")
    for place in places:
        if (place / LAYOUT).is_file():
            return place
    tried = " and ".join(str(place) for place in places)
    raise ReportError(
        f"report templates not found ({LAYOUT} is missing in {tried}); "
        "reinstall pytest-dllama, or run from a complete checkout"
    )


def load_words(language: str, folder: Path) -> dict[str, Any]:
    """The word list of a language."""
    with (folder / language / "words.toml").open("rb") as file:
        return tomllib.load(file)


def load_told(language: str, folder: Path, name: str = "told") -> list[Told]:
    """The program's own sentences in a language; none for the one that it speaks."""
    path = folder / language / f"{name}.toml"
    if not path.is_file():
        return []
    with path.open("rb") as file:
        entries = tomllib.load(file)["told"]
    return [Told.of(entry["of"], entry["text"]) for entry in entries]


@cache
def picture_words(language: str) -> tuple[Told, ...]:
    """The texts of pictures in a language; none for the one that they are drawn in."""
    folder = templates_folder()
    known = load_told(language, folder, "pictures")
    parts = load_words(language, folder)["parts"].items() if known else ()
    return (*known, *(Told.of(PART_NAMES.get(part, part), text) for part, text in parts))


def picture_suffix(language: str) -> str:
    """What the names of its pictures' files end with: languages without words of their own share.

    >>> picture_suffix("ko"), picture_suffix("en")
    ('.ko', '')
    """
    return f".{language}" if picture_words(language) else ""


def environment_of(language: str) -> jinja2.Environment:
    """The templates in one language.

    Raises:
        ReportError: a language that there is not, or no templates.
    """
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ReportError(f"no report language {language!r}; there are {known}")
    return _environment(language, templates_folder())


@cache
def _environment(language: str, folder: Path) -> jinja2.Environment:
    # The loader's autoescaping is used to tell ready Markdown or HTML (Markup) from raw text, which
    # `finalize` escapes for Markdown.
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

    writer = Writer(words, macro, load_told(language, folder))
    environment.filters.update(writer.phrases.filters())
    environment.globals.update(
        language=Markup(language),
        picture_suffix=Markup(picture_suffix(language)),
        words=_as_markdown(words),
        speed_keys=tuple(quantity.key for quantity in quantities.SPEED),
        quantities=quantities,
        writer=writer,
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
