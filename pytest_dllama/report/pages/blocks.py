"""What a page is made of, in no language and no format: blocks, and the pieces of their lines.

A block is a paragraph, a list, a table ...; a piece is a part of a line. Texts are named (`Words`)
or are statements (`Sentence`); the writer of a page has the words and the marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.tables.columns import Code, Table


@dataclass(frozen=True, slots=True, init=False)
class Words:
    """A text of the word list by its path, each `{name}` in it replaced by a piece.

    >>> Words("headings.model", model="tiny").path
    'headings.model'
    """

    path: str
    values: dict[str, Piece] = field(hash=False)

    def __init__(self, path: str, **values: Piece) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True)
class Strong:
    """A piece that stands out."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Listed:
    """Pieces in a row as a sentence names them: `a, b and c`."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class NodeCount:
    """A node count with its noun: `1 node`."""

    n: int


@dataclass(frozen=True, slots=True)
class Versus:
    """Models against each other."""

    models: tuple[str, ...]


# A plain string is text as it is; a tuple is its parts one after the other.
Piece = str | Words | Sentence | Strong | Code | Listed | NodeCount | Versus | tuple["Piece", ...]


def joined(pieces: Sequence[Piece], between: str = ", ") -> tuple[Piece, ...]:
    """Pieces with a separator that is the same in every language.

    >>> joined(["a", "b"])
    ('a', ', ', 'b')
    """
    parts = [part for piece in pieces for part in (between, piece)]
    return tuple(parts[1:])


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the page's title."""

    kind: ClassVar[str] = "heading"
    level: int
    text: Piece
    number: int | None = None  # in front of the text


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A line of text."""

    kind: ClassVar[str] = "paragraph"
    text: Piece


@dataclass(frozen=True, slots=True)
class Items:
    """A list; one without items is not shown."""

    kind: ClassVar[str] = "items"
    items: tuple[Piece, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table with the legend of its marks."""

    kind: ClassVar[str] = "table"
    table: Table


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Text that keeps its line ends."""

    kind: ClassVar[str] = "code"
    text: str | Words
    language: str = "text"


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks under a heading, which a page may fold away."""

    kind: ClassVar[str] = "details"
    heading: Heading
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the page: what follows is an appendix."""

    kind: ClassVar[str] = "rule"


Block = Heading | Paragraph | Items | TableBlock | CodeBlock | Details | Rule


def heading(level: int, path: str, number: int | None = None, **values: Piece) -> Heading:
    """A heading of the word list."""
    return Heading(level, Words(path, **values), number)


def said(path: str, **values: Piece) -> Paragraph:
    """A paragraph of the word list."""
    return Paragraph(Words(path, **values))


def label(key: str) -> Paragraph:
    """What the next block is, in a word or two."""
    return Paragraph(Strong((Words(f"labels.{key}"), ":")))


def labelled(key: str, *pieces: Piece) -> tuple[Piece, ...]:
    """`Label: text`."""
    return (Words(f"labels.{key}"), ": ", *pieces)


def analysis(sentences: Sequence[Sentence]) -> tuple[Block, ...]:
    """What follows from a table, if anything does."""
    return (label("analysis"), Items(tuple(sentences))) if sentences else ()


def table(found: Table | None, *before: Block) -> tuple[Block, ...]:
    """A table with what leads to it; nothing at all where there is none."""
    return (*before, TableBlock(found)) if found is not None else ()
