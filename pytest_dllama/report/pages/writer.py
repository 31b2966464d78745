"""Sentences, tables and values -> Markdown of one language, through its word list and macros."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup
from markupsafe import escape as html_escape

from pytest_dllama.report.figures.quantities import Quantity
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
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.hosts import HostProblem
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
    metric_value,
    with_unit,
)
from pytest_dllama.report.text import korean, markdown, numbers
from pytest_dllama.report.text.told import Told, translated

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
        self.macro = macro
        self.known = told

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
        alt = self._phrase("drawn_series", first=cell.first, last=cell.last, **counts)
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
                return self._phrase("nodes_cell", n=str(n))
            case NodeStep(start, end):
                return self._phrase("step", start=str(start), end=str(end))
            case Word(group, key):
                return str(self.words[group].get(key) or markdown.escape(key))
            case Drawn(line=line):
                return line
            case Starred(entry):
                return f"{self._cell(entry)} {BEST}"
            case Code(text):
                return str(markdown.code(text, in_table=True))
            case Flags(flags):
                return self._flags(flags) if flags else str(self.words["phrases"]["no_flags"])
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
                return _filled(self._text(group, key), **shown)
            case Strong(inner):
                return Markup(f"**{self.piece(inner)}**")
            case Code(text):
                return markdown.code(text)
            case Note(text):
                return markdown.escape(self.told(text))
            case Listed(pieces):
                return self._join(str(self.piece(part)) for part in pieces)
            case NodeCount(n):
                return self._nodes(n)
            case Versus(models):
                return Markup(self._phrase("versus").join(map(markdown.escape, models)))
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

    def filters(self) -> dict[str, Callable[..., object]]:
        """Filters of the templates; all return ready Markdown."""
        return {
            "hashes": lambda level: Markup("#" * level),
            "code": lambda text: markdown.code(text),
            "josa": self._josa,
            "listing": self._listing,
            "numbers": lambda values: self._join(str(value) for value in values),
            "nodes": self._nodes,
            "plural": _plural,
            "value": lambda value, quantity: Markup(with_unit(value, quantity)),
            "metric": lambda value, name: Markup(metric_value(name, value)),
            "advantage": self._advantage,
            "percent": lambda value: Markup(numbers.percent(value)),
            "magnitude": lambda value: Markup(numbers.percent(abs(value)).lstrip("+")),
            "share": lambda value: Markup(numbers.share(value)),
            "short": lambda value: Markup(numbers.short(value)),
            "factor": lambda value: Markup(numbers.factor(value)),
            "size": lambda value: Markup(numbers.size(value)),
            "count": lambda value: Markup(numbers.count(value)),
            "plain": lambda value, decimals: Markup(numbers.plain(value, decimals)),
            "signed": lambda value, decimals: Markup(numbers.signed(value, decimals)),
            "significant": _significant,
            "digits": lambda value: Markup(numbers.three_digits(value)),
            "filled": _filled,
            "flags": lambda flags: Markup(self._flags(flags)),
            "host_problem": self._host_problem,
            "part": self._part,
            "ready": Markup,
            "told": self.told,
            "all_told": lambda texts: [self.told(text) for text in texts],
            "shift": self._shift,
            "counted": self._counted,
            "one_by_one": lambda texts: Markup("; ").join(map(markdown.escape, texts)),
        }

    def _counted(self, items: Iterable[tuple[int, str]], phrase: str) -> Markup:
        """How many of each kind there are; of kinds that there are none nothing is said."""
        known = [(numbers.count(n), what) for n, what in items if n]
        return Markup(", ".join(phrase.replace("{n}", n).replace("{what}", w) for n, w in known))

    def _josa(self, text: str, pair: str) -> Markup:
        shown = text if isinstance(text, Markup) else markdown.escape(str(text))
        return Markup(f"{shown}{korean.particle(str(text), pair)}")

    def _listing(self, texts: Iterable[str]) -> Markup:
        return self._join(
            text if isinstance(text, Markup) else markdown.escape(text) for text in texts
        )

    def _nodes(self, values: int | Iterable[int]) -> Markup:
        """Node counts with their noun, for use inside a sentence."""
        counts = [values] if isinstance(values, int) else list(values)
        phrase = "nodes_one" if counts == [1] else "nodes"
        return Markup(self._phrase(phrase, n=self._join(map(str, counts))))

    def _join(self, texts: Iterable[str]) -> Markup:
        *first, last = list(texts) or [numbers.MISSING]
        joined = ", ".join(first)
        return Markup(f"{joined}{self._phrase('last_of_list')}{last}" if first else last)

    def _flags(self, flags: Iterable[str]) -> str:
        """Throttling flags in words; one that nobody knows as it is."""
        known: Mapping[str, str] = self.words["throttled"]
        return ", ".join(str(markdown.escape(known.get(flag, flag))) for flag in flags)

    def _host_problem(self, problem: HostProblem) -> Markup:
        """What is wrong with a host, with its remedy."""
        values: dict[str, object] = dict(problem.values)
        if isinstance(flags := values.get("flags"), str):
            values["flags"] = Markup(self._flags(flags.split(", ")))
        return _filled(self.words["host_problems"][problem.kind], **values)

    def _shift(self, change: float) -> Markup:
        """How much slower or faster something became, 0.31 being 31 % slower."""
        phrase = "slower" if change > 0 else "faster"
        return Markup(self._phrase(phrase, x=numbers.share(abs(change))))

    def told(self, text: str) -> str:
        """A sentence of the program in this language, if it is one that has been translated."""
        return translated(text, self.known) if self.known else text

    def _part(self, part: str) -> Markup:
        """A part of a token's time in words; one that nobody knows as it is."""
        return Markup(self.words["parts"].get(part) or markdown.escape(part))

    def html(self, piece: Piece) -> Markup:
        """A part of a line as HTML."""
        return as_html(self.piece(piece))

    def alt(self, piece: Piece) -> Markup:
        """A line of text without marks, as an image's alternative text."""
        return markdown.unmarked(self.piece(piece))

    def _phrase(self, key: str, **values: str) -> str:
        text: str = self.words["phrases"][key]
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _advantage(self, low: float, high: float, quantity: Quantity) -> Markup:
        """How far one is ahead of the other, from `low` to `high`."""
        small = quantity.as_factor and low < 1.1  # "3.2 %" reads better than "1.03 times"
        if quantity.as_factor and not small:
            ends, phrase = [numbers.factor(low), numbers.factor(high)], "times"
        else:
            percents = [(low - 1) * 100, (high - 1) * 100] if small else [low, high]
            ends = [numbers.number(p, 1) for p in percents]
            phrase = "points" if quantity.unit == "share" else "percents"
        text = ends[0] if ends[0] == ends[1] else f"{ends[0]}{self._phrase('to')}{ends[1]}"
        return Markup(self._phrase(phrase, x=text))


def _plural(n: int, noun: str, many: str = "") -> Markup:
    """`1 cell`, `2 cells`."""
    return Markup(f"{numbers.count(n)} {noun if n == 1 else many or noun + 's'}")


def _filled(template: str, **values: object) -> Markup:
    """`template` with each `{name}` replaced by its escaped value."""
    text = str(template)
    for name, value in values.items():
        shown = value if isinstance(value, Markup) else markdown.escape(str(value))
        text = text.replace(f"{{{name}}}", str(shown))
    return Markup(text)


def _significant(value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return Markup(numbers.MISSING)
    return Markup(numbers.plain(value, numbers.decimals_for(value, 3)))
