"""Lines that a terminal, a mail or an editor cut at a width -> whole ones.

A cut step line shows the width; every row that is as wide goes on in the next one, unless that is
a line of dllama's own. Rows that were cut between words have no one width: they are joined by
blanks where that makes lines of dllama's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

from pytest_dllama.backends.dllama.printed.lines import clean, looks_like_dllama, read_line

_FEWEST = 3
_CLOSING = re.compile(
    r"Generated tokens:|Avg (?:tok|gen|inf|tra)"
    r"| *(?:nBatches|nTokens|tokens/s|(?:ttft|total|decode)Ms)"
)
_MOST_ROWS = 12  # of one line
# Lines that end with any text: a full row of another kind is whole.
_OPEN = {"pred", "pass", "header", "circle", "loading", "loaded", "cpu", "rope_cache", "chat"}


def unwrapped(lines: list[str]) -> tuple[list[str], list[str]]:
    """Rows joined to lines, and what was undone; the lines as they are if they were not cut."""
    lines, marks = _without_line_marks(lines)
    cut = [line for line in lines[:-1] if _is_cut_step(line)]
    for width_of in (len, _columns, _n_bytes):
        width = _width(lines, cut, width_of)
        if width:
            joined = _joined(lines, width, width_of)
            if not any(_is_cut_step(line) for line in joined):
                return joined, [f"wrapped at {width} columns, joined", *marks]
    if cut:
        joined = _joined_words(lines)
        if not any(_is_cut_step(line) for line in joined):
            note = "wrapped between words, joined: blanks of the text at the cuts may be lost"
            return joined, [note, *marks]
    return lines, marks


def _without_line_marks(lines: list[str]) -> tuple[list[str], list[str]]:
    """A backslash at the end of rows that go on."""
    marked = [line for line in lines if line.endswith("\\")]
    if len(marked) < _FEWEST or not any(_is_cut_step(line) for line in marked):
        return lines, []
    joined: list[str] = []
    goes_on = False
    for line in lines:
        text = line.removesuffix("\\")
        joined[-1:] = [joined[-1] + text] if goes_on else [*joined[-1:], text]
        goes_on = line.endswith("\\")
    return joined, ["rows that end with a backslash, joined"]


def _columns(line: str) -> int:
    """A row's width on a terminal."""
    return sum(_letter_columns(letter) for letter in line)


def _letter_columns(letter: str) -> int:
    if letter.isascii():
        return 1
    if letter == "\ufe0f" or unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _n_bytes(line: str) -> int:
    return len(line.encode())


def _is_cut_step(line: str) -> bool:
    """Whether a step line stops before its figures end."""
    return line.startswith(("🔷", "🔶")) and read_line(clean(line)) is None


def _width(lines: list[str], cut: list[str], width_of: Callable[[str], int]) -> int:
    """The width at which rows were cut; 0 if nothing shows that they were.

    Cut step lines show it: all of them are as wide, but for a sign of two columns. Without them
    only tokens' texts were cut: it is that of several longest rows.
    """
    if not cut:
        return _width_of_pieces(lines, width_of)
    widths = {width_of(line) for line in cut}
    width = max(widths)
    longest = max(map(width_of, lines))
    is_one = width - min(widths) <= 1 and longest <= width + 1
    return width if is_one else 0


def _width_of_pieces(lines: list[str], width_of: Callable[[str], int]) -> int:
    longest = max(map(width_of, lines), default=0)
    n_cut = sum(
        width_of(row) == longest and row.startswith("🔶") and _may_follow(following)
        for row, following in pairwise(lines)
    )
    return longest if n_cut >= _FEWEST else 0


def _joined(lines: list[str], width: int, width_of: Callable[[str], int]) -> list[str]:
    joined: list[str] = []
    previous = 0  # width of the row before
    for row in lines:
        is_full = previous >= width
        is_open = (
            bool(joined) and (is_full or _is_cut_step(joined[-1])) and not _is_whole(joined[-1])
        )
        if is_open and _may_follow(row):
            joined[-1] += row
        else:
            joined.append(row)
        previous = width_of(row)
    return joined


def _may_follow(row: str) -> bool:
    """Whether a row can be what a line before it goes on with."""
    begins = looks_like_dllama(row) or _CLOSING.match(row) is not None
    return bool(row) and not begins and read_line(clean(row)) is None


def _is_whole(line: str) -> bool:
    found = read_line(clean(line))
    return found is not None and found.kind not in _OPEN


def _joined_words(lines: list[str]) -> list[str]:
    """Rows behind one of dllama's that cannot be read, until it can be."""
    joined: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if looks_like_dllama(line) and read_line(clean(line)) is None:
            whole, n_rows = _with_following(line, lines[i : i + _MOST_ROWS])
            line, i = whole, i + n_rows
        joined.append(line)
    return joined


def _with_following(line: str, rows: list[str]) -> tuple[str, int]:
    """The line with as few rows as make it readable; alone if none do."""
    text = line
    for number, row in enumerate(rows, 1):
        if not _may_follow(row):
            break
        text = text.rstrip(" ") + " " + row.lstrip(" ")
        found = read_line(clean(text))
        if found is not None:
            return text, number
    return line, 0
