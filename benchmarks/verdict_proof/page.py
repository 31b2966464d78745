"""Puts what was found into a document between two markers; the words around it are people's."""

from __future__ import annotations

from pathlib import Path

BEGIN = "<!-- verdict-proof: written by the program, do not edit -->"
END = "<!-- verdict-proof: end -->"


class NoMarkers(ValueError):
    """A document without a place for the figures."""


def replaced(text: str, figures: str) -> str:
    r"""The document with new figures.

    >>> replaced(f"before {BEGIN} old {END} after", "new") == f"before {BEGIN}\n\nnew\n{END} after"
    True

    Raises:
        NoMarkers: one of them is missing, or they stand the wrong way round.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"no place for the figures: put {BEGIN} and {END} where they belong")
    return f"{before}{BEGIN}\n\n{figures}\n{END}{after}"


def write(path: Path, figures: str) -> None:
    """Replace the figures of a document, whole or not at all.

    Raises:
        NoMarkers: it has no place for them.
        OSError: it cannot be read or written.
    """
    text = replaced(path.read_text(encoding="utf-8"), figures)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
