"""What a page is made of, in no language and no format: blocks, and the pieces of their lines.

A block is a paragraph, a list, a table ...; a piece is a part of a line. Texts are named (`Words`)
or are statements (`Sentence`); the writer of a page has the words and the marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
class Note:
    """A sentence that the run holds in English; a page translates those that it knows."""

    text: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Pieces in a row as a sentence names them: `a, b and c`."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class NodeCount:
    """Node counts with their noun: `1 node`, `2 and 4 nodes`."""

    n: int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Versus:
    """Models against each other."""

    models: tuple[str, ...]


SECTION = 2  # the level of a section's heading

# A plain string is text as it is; a tuple is its parts one after the other.
Piece = (
    str
    | Words
    | Sentence
    | Strong
    | Note
    | Code
    | Listed
    | NodeCount
    | Versus
    | tuple["Piece", ...]
)


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
    legends: bool = True  # of the marks; a table after it may have them


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Text that keeps its line ends."""

    kind: ClassVar[str] = "code"
    text: str | Words
    language: str = "text"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its name in the gallery; `alt` says what it shows."""

    kind: ClassVar[str] = "picture"
    name: str
    alt: Piece


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks under a heading, folded away until somebody wants them."""

    kind: ClassVar[str] = "details"
    heading: Heading
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across the page: what follows is an appendix."""

    kind: ClassVar[str] = "rule"


Block = Heading | Paragraph | Items | TableBlock | CodeBlock | Picture | Details | Rule


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


def folded(blocks: Iterable[Block]) -> Iterator[Block]:
    """Each heading of level 2 with what follows it, folded; lines across the page go."""
    title: Heading | None = None
    inner: list[Block] = []
    for block in blocks:
        if isinstance(block, Heading) and block.level <= SECTION:
            if title is not None and inner:
                yield Details(title, tuple(inner))
            title, inner = block, []
        elif not isinstance(block, Rule):
            inner.append(block)
    if title is not None and inner:
        yield Details(title, tuple(inner))
