"""Markdown that stays Markdown whatever text is put into it: escapes, code, fences, tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from markupsafe import Markup

_SPECIAL = re.compile(r"([\\`*\[\]<>|~#$])")
_LOOSE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_LIST_MARK = re.compile(r"^(\d*)([-+](?=\s)|(?<=\d)[.)](?=\s|$))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
# Marks that turn the direction of what follows: text after them would read in another order.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def printable(text: str) -> str:
    r"""`text` without control characters and marks of direction; line ends and tabs stay.

    >>> printable("a\x1b[0m\x00b"), printable("a\u202eb")
    ('a�[0m�b', 'a�b')
    """
    return "".join("\ufffd" if _is_control(char) else char for char in _LINE_ENDS.sub("\n", text))


def _is_control(char: str) -> bool:
    if char in "\n\t":
        return False
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs")


def escape(text: str) -> Markup:
    r"""`text` as one line of Markdown that reads exactly so; a line end shows as ⏎.

    >>> print(escape("a|b *c* llama_13b_q40 <i>\nend"))
    a\|b \*c\* llama_13b_q40 \<i\>⏎end
    >>> print(escape("1. no list"), escape("- nor this"), escape("0.5"))
    1\. no list \- nor this 0.5
    """
    line = printable(text).replace("\n", "⏎").replace("\t", " ")
    line = _SPECIAL.sub(r"\\\1", line)
    line = _LOOSE_UNDERSCORE.sub(r"\\_", line)
    line = _LIST_MARK.sub(r"\1\\\2", line)
    return Markup(_ENTITY.sub("&amp;", line))


def code(text: str, *, in_table: bool = False) -> Markup:
    r"""`text` as inline code; falls back to escaped text where code cannot hold it.

    >>> print(code("model_q40.m"), code("a|b"), code("a|b", in_table=True))
    `model_q40.m` `a|b` a\|b
    """
    barred = "`|\n" if in_table else "`\n"
    simple = text.strip() == text != "" and printable(text) == text
    fits = simple and not any(char in text for char in barred)
    return Markup(f"`{text}`") if fits else escape(text)


def unmarked(line: Markup) -> Markup:
    r"""Markdown of one line without bold and code marks, for where they would show.

    >>> print(unmarked(Markup(r"**a** is `b` \* c")))
    a is b \* c
    """
    return Markup(re.sub(r"(?<!\\)(\*\*|`)", "", line))


def fence(text: str, language: str = "") -> Markup:
    r"""`text` as a fenced block whose fence is longer than any in the text.

    >>> print(fence("a ```` b", "text"))
    `````text
    a ```` b
    `````
    """
    body = printable(text)
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", body)), default=0))
    return Markup(f"{ticks}{language}\n{body}\n{ticks}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> Markup:
    """A table padded so that its source reads as well as its rendering.

    >>> print(table(["모델", "ms"], [["tiny", "3.20"]], [False, True]))
    | 모델 |   ms |
    |------|-----:|
    | tiny | 3.20 |
    """
    widths = [max(3, *(_width(line[i]) for line in (header, *rows))) for i in range(len(header))]
    rule = "|".join(
        "-" * (w + 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True)
    )
    lines = [_table_line(header, widths, numeric), f"|{rule}|"]
    lines += [_table_line(row, widths, numeric) for row in rows]
    return Markup("\n".join(lines))


def tidy(markdown: str) -> str:
    r"""No trailing blanks and no runs of empty lines, except inside fences.

    >>> tidy("a  \n\n\n\n```\n\n\n\n```\n\n")
    'a\n\n```\n\n\n\n```\n'
    """
    lines: list[str] = []
    open_fence = ""
    for line in markdown.split("\n"):
        if open_fence:
            open_fence = "" if line == open_fence else open_fence
        else:
            line = line.rstrip()
            match = re.match(r"(`{3,})[a-z]*$", line)
            open_fence = match.group(1) if match else ""
            if not line and (not lines or not lines[-1]):
                continue
        lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


def _table_line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        " " * (width - _width(cell)) + cell if right else cell + " " * (width - _width(cell))
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def _width(text: str) -> int:
    """Columns of a terminal that `text` takes: Korean syllables take two."""
    return sum(
        0
        if unicodedata.combining(char)
        else 2
        if unicodedata.east_asian_width(char) in ("W", "F")
        else 1
        for char in text
    )
