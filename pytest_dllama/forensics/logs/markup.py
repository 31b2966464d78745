"""Text that a program quoted -> as it was: HTML pages and escapes, mails, literals of a language.

Each form is undone only where more of dllama's lines can be read afterwards, or where nothing but
the form explains the text. Knows no lines' meaning beyond that.
"""

from __future__ import annotations

import ast
import base64
import binascii
import email
import email.policy
import html
import re

from pytest_dllama.backends.dllama.printed.lines import clean, read_line

_FEWEST = 3  # readable lines, to believe a form
_LARGEST = 64 * 2**20  # of what is parsed whole
_PAGE = re.compile(r"</(?:pre|html|body|table|div|code|test\w*|system-out|ol|ul|p)>\s*$", re.I)
_BREAK = re.compile(r"<br\s*/?>\n?|</(?:tr|div|p|li)>\n?", re.I)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_CLOSING_TAG = re.compile(
    r"</(?:pre|code|html|body|div|span|p|table|tbody|t[rdh]|[uo]l|li|a|b|i|em|strong|font|samp"
    r"|system-(?:out|err)|test\w+)>"
)
_TAG = re.compile(r"<[?!/]?[a-zA-Z][^<>\n]*>")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
_MAIL_HEAD = re.compile(r"(?:[A-Za-z][A-Za-z-]*: .*\n(?:[ \t].*\n)*){2,}\n")
_BASE64 = re.compile(r"[A-Za-z0-9+/\n]+={0,2}\s*")
_LITERAL = re.compile(r"(?:[bu]?['\"]|\[ *[bu]?['\"]|\( *[bu]?['\"])")
_ESCAPES = {r"\r": "", r"\n": "\n", r"\t": "\t", r"\"": '"', r"\'": "'", r"\\": "\\"}
_ESCAPE = re.compile(r"\\[rnt\"'\\]")


def without_markup(text: str) -> tuple[str, list[str]]:
    """The text as it was before a page, a mail or a program quoted it, and what was undone."""
    if len(text) > _LARGEST:
        return text, []
    notes = list[str]()
    for undo in (_mail, _literal, _escaped, _page, _entities):
        text, said = undo(text)
        notes += said
    return text, notes


def n_readable(text: str) -> int:
    """How many of dllama's lines there are."""
    return sum(read_line(clean(line)) is not None for line in text.split("\n"))


def is_better(new: str, old: str) -> bool:
    """Whether more of dllama's lines can be read in a text, and enough to believe a form."""
    return n_readable(new) >= max(_FEWEST, n_readable(old) + 1)


def _mail(text: str) -> tuple[str, list[str]]:
    if _BASE64.fullmatch(text) and len(text) > 200:
        found = _of_base64(text)
        if is_better(found, text):
            return found, ["base64, decoded"]
    head = _MAIL_HEAD.match(text)
    if head is None or "content-" not in head.group().lower():
        return text, []
    message = email.message_from_bytes(text.encode(), policy=email.policy.default)
    parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    found = "\n".join(p.decode("utf-8", "replace") for p in parts if isinstance(p, bytes))
    found = found.replace("\r\n", "\n")
    return (found, ["a mail, its texts taken"]) if n_readable(found) >= _FEWEST else (text, [])


def _of_base64(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _literal(text: str) -> tuple[str, list[str]]:
    r"""A string, bytes or a list of them as Python prints them.

    >>> _literal(repr("💡 Dim: 3\n🧠 CPU: avx2\n⭕ nNodes: 2\n"))[1]
    ["a program's literal, read"]
    """
    if _LITERAL.match(text.lstrip()) is None:
        return text, []
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text, []
    items = value if isinstance(value, list | tuple) else [value]
    found = [i.decode("utf-8", "replace") if isinstance(i, bytes) else str(i) for i in items]
    joined = "\n".join(item.removesuffix("\n") for item in found)
    return (joined, ["a program's literal, read"]) if is_better(joined, text) else (text, [])


def _escaped(text: str) -> tuple[str, list[str]]:
    r"""Line ends written as the two letters `\n`."""
    if text.count("\\n") < _FEWEST or text.count("\n") > _FEWEST:
        return text, []
    found = _ESCAPE.sub(lambda match: _ESCAPES[match.group()], text.strip().strip("'\""))
    return (found, [r"line ends written as \n, undone"]) if is_better(found, text) else (text, [])


def _page(text: str) -> tuple[str, list[str]]:
    """HTML or XML: tags away, escapes undone; what is quoted whole (CDATA) stays as it is."""
    if "<" not in text:
        return text, []
    quoted = "\n".join(_CDATA.findall(text))
    broken = _BREAK.sub("\n", text)
    has_tags = _CLOSING_TAG.search(broken) is not None
    found = quoted or (html.unescape(_TAG.sub("", broken)) if has_tags else broken)
    if found == text:
        return text, []
    is_page = text.lstrip().startswith("<") and _PAGE.search(text) is not None
    if is_better(found, text) or ((is_page or quoted) and n_readable(found) >= _FEWEST):
        return found, ["a page of HTML or XML, its text taken"]
    return text, []


def _entities(text: str) -> tuple[str, list[str]]:
    r"""Escapes of HTML in a paste: where no letter that HTML escapes is left, all are escaped.

    >>> head = "💡 Dim: 3\n🧠 CPU: avx2\n⭕ nNodes: 2\n"
    >>> _entities(head + "&lt;b&gt;")[0] == head + "<b>", _entities(head + "<b> &lt;")[1]
    (True, [])
    """
    entities = _ENTITY.findall(text)
    if not entities or text.count("&") != len(entities):
        return text, []
    found = html.unescape(text).replace("\u00a0", " ")
    is_escaped = not {"<", ">"} & set(text) and n_readable(text) >= _FEWEST
    if is_escaped or is_better(found, text):
        return found, ["escapes of HTML, undone"]
    return text, []
