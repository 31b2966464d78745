"""The HTML page: all in one file, the same tables, and nothing from outside that could act."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages import html
from pytest_dllama.report.pages.language import LANGUAGES, ReportError
from pytest_dllama.report.pages.markdown import render as markdown
from pytest_dllama.report.pages.reports import drawings
from tests.data import REPORTS
from tests.plugin.report.report_runs import cell, run, verdict

RUNS = ("two_models", "one_model", "three_models", "ssh_hosts")
# Every kind of text that a page must show and not obey.
HOSTILE = (
    "<img src=x onerror=alert(1)>|a\n</script><script>alert(2)</script>\u202e&lt; [x](http://a.b)"
)


class Page(HTMLParser):
    """What a browser finds: tags with their attributes, and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "script" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


@cache
def _stored(name: str, language: str = "en") -> str:
    return _page(read_run(REPORTS / f"{name}.json"), language)


def _page(record: RunRecord, language: str = "en", *regressed: str) -> str:
    judged = verdict(record, *regressed) if regressed else None
    drawn, undrawn = drawings(RunView.of(record, judged))
    return html.render(record, language, judged, drawn, undrawn)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", RUNS)
def test_every_cell_of_every_table_is_in_the_page(name: str, language: str) -> None:
    record = read_run(REPORTS / f"{name}.json")
    lines = [line for line in markdown(record, language).splitlines() if line.startswith("|")]
    rows = [line for line in lines if not re.fullmatch(r"[|:-]+", line)]
    cells = [cell.strip() for line in rows for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    plain = [re.sub(r"\\(.)", r"\1", re.sub(r"\*\*|`", "", cell)) for cell in cells]
    assert [cell.strip() for cell in Page(_stored(name, language)).cells] == plain


@pytest.mark.parametrize("name", RUNS)
def test_the_page_needs_nothing_else(name: str) -> None:
    page = Page(_stored(name))
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "a"), tag
        for key, value in attributes.items():
            assert key not in ("src", "srcset", "data", "action"), (tag, key)
            assert not key.startswith("on"), (tag, key)
            if key.endswith("href"):
                assert (value or "").startswith("#"), (tag, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_pictures_are_inline_and_say_what_they_show() -> None:
    page = Page(_stored("three_models"))
    shown = [a for tag, a in page.tags if a.get("role") == "img"]
    assert len(shown) == sum(tag == "svg" for tag, _ in page.tags) > 1
    for attributes in shown:
        label = attributes["aria-label"]
        assert label is not None
        assert ": " in label, label  # a finding, not a title only
        assert "*" not in label
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_texts_are_text(language: str) -> None:
    text, harmless = (_named(name, language) for name in (HOSTILE, "plain"))
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {"img", "a"} & {tag for tag, _ in page.tags}
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert "\u202e" not in text
    assert "<img src=x onerror=alert(1)>|a" in page.text
    # A name that inline code cannot hold is shown without it; all else is alike.
    tags = [[tag for tag, _ in one.tags if tag != "code"] for one in (page, Page(harmless))]
    assert tags[0] == tags[1]


def _named(name: str, language: str) -> str:
    """A page in which this text stands wherever one from outside can."""
    failed = cell(name, 2, [1]).model_copy(update={"status": "failed", "error": name})
    record = run([failed, cell(name, 4, [2, 3, 4]), cell(name, 8, [1])], prompt=name)
    return _page(record.model_copy(update={"notes": (name,)}), language, f"{name}-4")


def test_a_language_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(ReportError, match="no report language 'fr'"):
        _page(run([]), "fr")
