"""Markdown of a line -> HTML: what the writer made ready, and nothing that came from outside.

Raw HTML is off: `<` of a name is text. Links and
images are off too: nothing in a page may load.
"""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).disable(["link", "image", "autolink"])


def as_html(line: str) -> Markup:
    r"""A line of ready Markdown as HTML.

    >>> print(as_html(r"**a** \<b\> `c` <i>"))
    <strong>a</strong> &lt;b&gt; <code>c</code> &lt;i&gt;
    """
    return Markup(_reader().renderInline(str(line)))
