"""A drawn SVG made fit for a page: values when pointed at, a dark twin, no ids that could clash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from pytest_dllama.report.plots.drawing.theme import dark_rules

SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", _XLINK)


def finished(drawn: str, hints: Mapping[str, str], name: str) -> str:
    """The picture with a hint on each named mark, as one `<svg>` that fits any width."""
    root = ElementTree.fromstring(drawn)
    used = _references(root)
    for element in root.iter():
        own = element.get("id")
        if own is not None and own in hints:
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = hints[own]
            element.insert(0, title)
        if own is not None and own not in used:
            del element.attrib["id"]
    _prefix(root, used, f"{name}-")
    for found in root.findall(f"{{{SVG}}}metadata"):
        root.remove(found)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("class", "plot")
    style = ElementTree.Element(f"{{{SVG}}}style")
    style.text = f"@media screen and (prefers-color-scheme:dark){{{dark_rules()}}}"
    root.insert(0, style)
    return ElementTree.tostring(root, encoding="unicode")


def inline(svg: str) -> str:
    """The picture for a page that has the colours' rules itself and says what it shows."""
    bare = re.sub(r"<style>@media screen.*?</style>", "", svg, count=1, flags=re.DOTALL)
    return bare.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def _references(root: ElementTree.Element) -> set[str]:
    """Ids that another element names."""
    text = ElementTree.tostring(root, encoding="unicode")
    return set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))


def _prefix(root: ElementTree.Element, used: set[str], prefix: str) -> None:
    for element in root.iter():
        if (own := element.get("id")) in used:
            element.set("id", f"{prefix}{own}")
        for key, value in list(element.attrib.items()):
            if "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{prefix}{value[1:]}")
