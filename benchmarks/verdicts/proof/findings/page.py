"""Puts what was found into a document between two markers; the words around it are people's."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.files.whole_file import write_whole

DEFAULT = "quiet"  # a section; the program fills one at a time


class NoMarkers(ValueError):
    """A document without a place for the figures."""


def markers(section: str) -> tuple[str, str]:
    """What stands before and behind a section's figures."""
    begin = f"<!-- verdict-proof {section}: written by the program, do not edit -->"
    return begin, f"<!-- verdict-proof {section}: end -->"


def replaced(text: str, figures: str, section: str = DEFAULT) -> str:
    r"""The document with new figures in a section.

    >>> begin, end = markers("quiet")
    >>> replaced(f"before {begin} old {end} after", "new") == f"before {begin}\n\nnew\n{end} after"
    True

    Raises:
        NoMarkers: one of them is missing, or they stand the wrong way round.
    """
    opening, closing = markers(section)
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise NoMarkers(f"no place for the figures: put {opening} and {closing} where they belong")
    return f"{before}{begin}\n\n{figures}\n{end}{after}"


def write(path: Path, figures: str, section: str = DEFAULT) -> None:
    """Replace the figures of a document's section, whole or not at all.

    Raises:
        NoMarkers: it has no place for them.
        OSError: it cannot be read or written.
    """
    text = replaced(path.read_text(encoding="utf-8"), figures, section)
    write_whole(path, text)
