"""Lines that a terminal cut at its width -> whole ones: joined where that makes dllama's lines."""

from __future__ import annotations

from itertools import pairwise

from pytest_dllama.backends.dllama.lines import clean, looks_like_dllama, read_line

_FEWEST = 3
_SIGN = 1  # a sign takes two columns


def unwrapped(lines: list[str]) -> tuple[list[str], list[str]]:
    """Lines that a terminal cut at its width: joined where that makes lines of dllama's."""
    cut = [i for i, line in enumerate(lines[:-1]) if _is_cut_step(line)]
    width = max((len(lines[i]) for i in cut), default=0) or _width_of_pieces(lines)
    if not width or (0 < len(cut) < _FEWEST and max(map(len, lines)) > width + _SIGN):
        return lines, []
    joined: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        while i + 1 < len(lines) and (
            _is_cut_step(line) or _is_cut_piece(lines[i], line, width, lines[i + 1])
        ):
            i += 1
            line += lines[i]
        joined.append(line)
        i += 1
    if sum(_is_cut_step(line) for line in joined) > 0:
        return lines, []
    return joined, [f"wrapped at {width} columns, joined"]


def _is_cut_step(line: str) -> bool:
    """Whether a step line stops before its figures end."""
    return line.startswith(("🔷", "🔶")) and read_line(clean(line)) is None


def _is_cut_piece(row: str, line: str, width: int, following: str) -> bool:
    """Whether a row as wide as the terminal goes on: a token's text or the prompt."""
    is_text = line.startswith("🔶") or not looks_like_dllama(line)
    return len(row) == width and is_text and bool(following) and not looks_like_dllama(following)


def _width_of_pieces(lines: list[str]) -> int:
    """The width at which only tokens' texts were cut: that of several longest rows; or 0."""
    longest = max(map(len, lines), default=0)
    n_cut = sum(
        _is_cut_piece(row, row, longest, following) and row.startswith("🔶")
        for row, following in pairwise(lines)
    )
    return longest if n_cut >= _FEWEST else 0
