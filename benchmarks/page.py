"""Puts what a program found into a document, between two markers; the words around are people's."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.files.whole_file import write_whole


class NoMarkers(ValueError):
    """A document without a place for the figures."""


def markers(name: str) -> tuple[str, str]:
    """What stands before and behind the figures of that name."""
    return (
        f"<!-- {name}: written by the program, do not edit -->",
        f"<!-- {name}: end -->",
    )


def written(text: str, name: str) -> str:
    """What stands between the markers.

    Raises:
        NoMarkers: one of them is missing, or they stand the wrong way round.
    """
    return _parts(text, name)[1].strip("\n")


def replaced(text: str, name: str, figures: str) -> str:
    r"""The document with new figures of that name.

    >>> begin, end = markers("speeds")
    >>> replaced(f"before {begin} old {end} after", "speeds", "new") == (
    ...     f"before {begin}\n\nnew\n\n{end} after"
    ... )
    True

    Raises:
        NoMarkers: one of them is missing, or they stand the wrong way round.
    """
    before, _, after = _parts(text, name)
    figures = figures.strip("\n")
    return f"{before}\n\n{figures}\n\n{after}"


def write(path: Path, name: str, figures: str) -> None:
    """Replace the figures of that name in a document, whole or not at all.

    Raises:
        NoMarkers: it has no place for them.
        OSError: it cannot be read or written.
    """
    write_whole(path, replaced(path.read_text(encoding="utf-8"), name, figures))


def _parts(text: str, name: str) -> tuple[str, str, str]:
    """Up to the first marker, between the two, and from the second on."""
    opening, closing = markers(name)
    before, begin, rest = text.partition(opening)
    between, end, after = rest.partition(closing)
    if not begin or not end:
        raise NoMarkers(f"no place for the figures: put {opening} and {closing} where they belong")
    return before + begin, between, end + after
