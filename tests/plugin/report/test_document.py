"""One document for every page: in no language, with every kind of block known to the layout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    CodeBlock,
    Details,
    Heading,
    Listed,
    NodeCount,
    Paragraph,
    Piece,
    Rule,
    Strong,
    TableBlock,
    Words,
    joined,
    table,
)
from pytest_dllama.report.pages.document import report
from pytest_dllama.report.pages.language import LANGUAGES, load_words, templates_folder
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.pages.writer import Writer
from pytest_dllama.report.tables.columns import Code
from tests.data import REPORTS
from tests.plugin.report.report_runs import cell, run

ALL = RunView.of(read_run(REPORTS / "ssh_hosts.json"))


def _flat(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield block.heading
            yield from _flat(block.blocks)


def _writer(language: str = "en") -> Writer:
    def no_sentence(kind: object) -> None:
        raise AssertionError(kind)

    return Writer(load_words(language, templates_folder()), no_sentence)  # type: ignore[arg-type]


def test_the_layout_knows_every_kind_of_block() -> None:
    layout = (templates_folder() / "report.md.j2").read_text(encoding="utf-8")
    in_layout = set(re.findall(r'block.kind == "(\w+)"', layout))
    assert in_layout == {kind.kind for kind in get_args(Block)}


def test_a_whole_run_uses_every_kind_of_block() -> None:
    found = {type(block) for block in _flat(report(ALL).blocks)}
    assert found == set(get_args(Block)) - {Rule}  # what is folded needs no line above it


def _titles(headings: Iterator[Heading]) -> list[str]:
    return [heading.text.path for heading in headings if isinstance(heading.text, Words)]


def test_the_answer_comes_first_then_the_questions() -> None:
    blocks = report(ALL).blocks
    assert isinstance(blocks[0], Paragraph)
    assert isinstance(blocks[1], TableBlock)
    titles = _titles(b for b in blocks if isinstance(b, Heading) and b.level == 2)
    questions = ("slower", "scales", "token_time", "right", "trusted")
    assert titles[:5] == [f"sections.{name}" for name in questions]
    assert titles[-1] == "sections.appendix"


def test_everything_else_is_folded_under_its_own_heading() -> None:
    folded = _titles(b.heading for b in report(ALL).blocks if isinstance(b, Details))
    assert folded[:3] == ["sections.pictures", "sections.setup", "sections.hosts"]
    assert folded[-3:] == ["sections.commands", "sections.definitions", "sections.identity"]


def test_what_a_run_has_not_is_left_out() -> None:
    blocks = report(RunView.of(run([cell("a", 2, [1])]))).blocks
    titles = set(_titles(block for block in _flat(blocks) if isinstance(block, Heading)))
    assert "sections.definitions" in titles
    assert not titles & {"sections.hosts", "sections.comparison", "sections.scaling"}


def test_a_cell_can_be_folded_away_whole() -> None:
    (folded,) = [
        block
        for block in report(RunView.of(run([cell("a", 2, [1])]))).blocks
        if isinstance(block, Details)
        and isinstance(block.heading.text, Words)
        and block.heading.text.path == "headings.model_details"
    ]
    assert any(isinstance(block, CodeBlock) for block in folded.blocks)


def test_no_block_holds_ready_markdown() -> None:
    """Another format must be able to show the same document."""
    for block in _flat(report(ALL).blocks):
        assert "Markup" not in repr(block)


@pytest.mark.parametrize(
    ("piece", "markdown"),
    [
        ("a*b_", "a\\*b\\_"),
        (Words("headings.model", model="*x*"), "Model \\*x\\*"),
        (
            Words("phrases.link", peer=("1 ", Code("a:1")), avg="2.50"),
            "1 `a:1` (average latency: 2.50 ms)",
        ),
        (Strong((Words("labels.note"), ":")), "**Note:**"),
        (Listed(("1", "2", "3")), "1, 2 and 3"),
        (NodeCount(1), "1 node"),
        (NodeCount((2, 4)), "2 and 4 nodes"),
        (joined([Code("a.m"), "b"]), "`a.m`, b"),
        ((), ""),
    ],
)
def test_pieces_in_markdown(piece: Piece, markdown: str) -> None:
    assert _writer().piece(piece) == markdown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_that_nobody_wrote_is_no_silent_gap(language: str) -> None:
    with pytest.raises(KeyError, match="nobody_wrote_it"):
        _writer(language).piece(Words("text.nobody_wrote_it"))


def test_no_table_takes_its_introduction_with_it() -> None:
    assert table(None, Paragraph("see:")) == ()
    tables = [block for block in report(ALL).blocks if isinstance(block, TableBlock)]
    assert table(tables[0].table, Paragraph("see:")) == (Paragraph("see:"), tables[0])


@pytest.mark.parametrize(("language", "words"), [("en", "slowed down on"), ("ko", "일부러 늦춘")])
def test_a_run_that_was_slowed_down_on_purpose_says_so_in_its_title(
    language: str, words: str
) -> None:
    record, slow = (run([cell("m", 1, (1.0,))], inject=spec) for spec in ("", "tpot=10%"))
    title = next(line for line in render(slow, language).splitlines() if line.startswith("# "))
    assert words in title
    assert "`tpot=10%`" in title
    assert words not in render(record, language)
