"""Sentences, tables and values -> Markdown of one language, through its word list and macros."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup
from markupsafe import escape as html_escape

from pytest_dllama.report.pages.blocks import (
    CodeBlock,
    Listed,
    NodeCount,
    Note,
    Piece,
    Strong,
    Versus,
    Words,
)
from pytest_dllama.report.pages.inline import as_html
from pytest_dllama.report.pages.phrases import Phrases, filled
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.tables.columns import (
    BEST,
    Code,
    Column,
    Definition,
    Drawn,
    Entry,
    Flags,
    Nodes,
    NodeStep,
    Starred,
    Table,
    Word,
)
from pytest_dllama.report.text import markdown
from pytest_dllama.report.text.told import Told

ONE_LINE = 32  # characters of a cell that a page does not break
# A sentence is a list item: a mark at its start would open another list inside.
_LIST_START = re.compile(r"^(\d*)([-+]|(?<=\d)[.)])(?=\s|$)")


@dataclass(frozen=True, slots=True)
class HtmlCell:
    """A cell and its class: a number, a text that stays on one line, or a longer one.

    Of a small picture `picture` is the name, `alt` what it shows.
    """

    html: Markup
    kind: Literal["number", "short", "long"]
    picture: str = ""
    alt: str = ""

    @classmethod
    def of(cls, line: str, *, is_number: bool) -> HtmlCell:
        """From a line of ready Markdown."""
        if is_number:
            return cls(as_html(line), "number")
        return cls(as_html(line), "short" if len(line) <= ONE_LINE else "long")


@dataclass(frozen=True, slots=True)
class HtmlTable:
    """Pieces of a table."""

    header: list[HtmlCell]
    rows: list[list[HtmlCell]]
    legends: list[tuple[str, Markup]]


class Writer:
    """Turns sentences, tables and values into Markdown of one language."""

    def __init__(
        self,
        words: Mapping[str, Any],
        macro: Callable[[type[Sentence]], Callable[[Sentence], str]],
        told: Sequence[Told] = (),
    ) -> None:
        self.words = words
        self.phrases = Phrases(words, told)
        self.macro = macro

    def say(self, sentence: Sentence) -> Markup:
        """A sentence in words: the macro of its kind."""
        text = self.macro(type(sentence))(sentence).strip()
        return Markup(_LIST_START.sub(r"\1\\\2", text))

    def cells(self, table: Table) -> HtmlTable:
        """A table as HTML pieces: header and rows with their classes, and the legend."""
        header = [
            HtmlCell.of(self._header(column), is_number=column.numeric) for column in table.columns
        ]
        rows = [
            [
                self._html_cell(cell, is_number=column.numeric)
                for cell, column in zip(row, table.columns, strict=True)
            ]
            for row in table.rows
        ]
        return HtmlTable(
            header,
            rows,
            [(mark, as_html(self.words["marks"][mark])) for mark in table.marks],
        )

    def _html_cell(self, cell: Entry, *, is_number: bool) -> HtmlCell:
        if not isinstance(cell, Drawn):
            return HtmlCell.of(self._cell(cell), is_number=is_number)
        counts = {"nights": str(cell.nights), "alarms": str(cell.alarms)}
        alt = self.phrases.phrase("drawn_series", first=cell.first, last=cell.last, **counts)
        return HtmlCell(html_escape(cell.line), "short", cell.name, alt)

    def table(self, table: Table, legends: bool = True) -> Markup:
        """A table in Markdown, with a legend for the marks in it."""
        header = [self._header(column) for column in table.columns]
        rows = [[self._cell(cell) for cell in row] for row in table.rows]
        text = markdown.table(header, rows, [column.numeric for column in table.columns])
        marks = table.marks if legends else ()
        return Markup(text + "".join(f"\n\n{m} {self.words['marks'][m]}" for m in marks))

    def _header(self, column: Column) -> str:
        title: str = self.words["columns"].get(column.key) or self._short(column.key)
        title = title.replace("{model}", str(markdown.escape(column.model)))
        return f"{title} ({column.unit})" if column.unit else title

    def _short(self, key: str) -> str:
        short: str = self.words["quantities"][key]["short"]
        return short

    def _cell(self, cell: Entry) -> str:
        match cell:
            case Nodes(n):
                return self.phrases.phrase("nodes_cell", n=str(n))
            case NodeStep(start, end):
                return self.phrases.phrase("step", start=str(start), end=str(end))
            case Word(group, key):
                return str(self.words[group].get(key) or markdown.escape(key))
            case Drawn(line=line):
                return line
            case Starred(entry):
                return f"{self._cell(entry)} {BEST}"
            case Code(text):
                return str(markdown.code(text, in_table=True))
            case Flags(flags):
                return self.phrases.flags(flags) if flags else self.phrases.phrase("no_flags")
            case Definition(metric, text):
                known = self.words.get("definitions", {}).get(metric)
                is_of_this = known is not None and known["of"] == text
                return str(markdown.escape(known["text"] if is_of_this else text))
            case str():
                return str(markdown.escape(cell))

    def piece(self, piece: Piece) -> Markup:
        """A part of a line."""
        match piece:
            case str():
                return markdown.escape(piece)
            case Words(path, values):
                group, _, key = path.partition(".")
                shown = {name: self.piece(value) for name, value in values.items()}
                return filled(self._text(group, key), **shown)
            case Strong(inner):
                return Markup(f"**{self.piece(inner)}**")
            case Code(text):
                return markdown.code(text)
            case Note(text):
                return markdown.escape(self.phrases.told(text))
            case Listed(pieces):
                return self.phrases.join(str(self.piece(part)) for part in pieces)
            case NodeCount(n):
                return self.phrases.nodes(n)
            case Versus(models):
                return Markup(self.phrases.phrase("versus").join(map(markdown.escape, models)))
            case Sentence():
                return self.say(piece)
            case tuple():
                return Markup("".join(map(self.piece, piece)))

    def code_text(self, block: CodeBlock) -> Markup:
        """Text that keeps its line ends, for HTML."""
        text = block.text if isinstance(block.text, str) else str(self.piece(block.text))
        return html_escape(markdown.printable(text))

    def plain(self, piece: Piece) -> Markup:
        """A part of a line as bare text for an attribute of HTML."""
        return html_escape(self.html(piece).striptags())

    def code_block(self, block: CodeBlock) -> Markup:
        """Text between fences."""
        text = block.text if isinstance(block.text, str) else str(self.piece(block.text))
        return markdown.fence(text, block.language)

    def _text(self, group: str, path: str) -> str:
        found: Any = self.words[group]
        for key in path.split("."):
            found = found[key]
        return str(found)

    def html(self, piece: Piece) -> Markup:
        """A part of a line as HTML."""
        return as_html(self.piece(piece))

    def alt(self, piece: Piece) -> Markup:
        """A line of text without marks, as an image's alternative text."""
        return markdown.unmarked(self.piece(piece))
