"""The words inside a drawn picture in another language: its texts, and what its marks say.

A picture's texts are text, set by the reader's own fonts: exchanging them needs no font here. Names
that the run gave (models, commits) stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from xml.etree import ElementTree

from pytest_dllama.report.plots.drawing.svg import SVG
from pytest_dllama.report.text.told import Told, translated

TEXTS = (f"{{{SVG}}}text", f"{{{SVG}}}title")


def in_words(
    drawn: Mapping[str, str], known: Sequence[Told], names: Collection[str]
) -> dict[str, str]:
    """Pictures with each text that is known in the language of `known`.

    Args:
        drawn: name of a picture -> SVG.
        known: templates of texts and their words.
        names: texts that are no words.
    """
    if not known:
        return dict(drawn)
    return {name: _in_words(svg, known, names) for name, svg in drawn.items()}


def _in_words(svg: str, known: Sequence[Told], names: Collection[str]) -> str:
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        if element.tag in TEXTS and element.text and element.text not in names:
            element.text = translated(element.text, known)
    return ElementTree.tostring(root, encoding="unicode")
