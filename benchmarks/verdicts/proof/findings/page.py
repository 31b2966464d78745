"""Where the proof's figures stand in a document: a section each, quiet or loaded machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks import page

DEFAULT = "quiet"  # a section; the program fills one at a time


def name(section: str) -> str:
    """Of a section's figures, in the document's markers.

    >>> name("loaded")
    'verdict-proof loaded'
    """
    return f"verdict-proof {section}"


def write(path: Path, figures: str, section: str = DEFAULT) -> None:
    """Replace the figures of a document's section, whole or not at all.

    Raises:
        NoMarkers: it has no place for them.
        OSError: it cannot be read or written.
    """
    page.write(path, name(section), figures)
