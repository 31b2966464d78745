r"""Bytes that a program showed as letters -> the text: `M-pM-^_` of cat, `\360\237`, `%F0%9F`.

Undone only where more of dllama's lines can be read afterwards.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable

from pytest_dllama.forensics.logs.markup import is_better

_LARGEST = 64 * 2**20  # of what is looked at
_CARET = re.compile(r"(M-)?\^([?-_])|M-([ -~])")  # `cat -v`
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_HEX = re.compile(r"\\x([0-9A-Fa-f]{2})")
_CONTINUED = re.compile(r"\\\n")  # a line that `sed -n l` has broken
_LINE_END = re.compile(r"\$$", re.MULTILINE)
_C_ESCAPES = {r"\\": "\\", r"\t": "\t", r"\"": '"'}
_C_ESCAPE = re.compile(r"\\[\\t\"]")


def without_shown_bytes(text: str) -> tuple[str, list[str]]:
    """The text whose bytes were shown, and what was undone."""
    if len(text) > _LARGEST:
        return text, []
    for what, sign, undo in _FORMS:
        if sign in text and is_better(found := undo(text), text):
            return found, [f"bytes shown as {what}, undone"]
    return text, []


def _of_caret(text: str) -> str:
    """`cat -v` and `cat -A`, which puts a `$` at each line's end."""
    lines = text.removesuffix("\n").split("\n")
    if all(line.endswith("$") for line in lines):
        text = _LINE_END.sub("", text)
    return _as_utf8(_CARET, _of_a_caret, text)


def _of_a_caret(match: re.Match[str]) -> int:
    meta, control, plain = match.groups()
    value = ord(control) ^ 0x40 if control else ord(plain)
    return value | 0x80 if meta or plain else value


def _of_octal(text: str) -> str:
    """C's escapes, as git and `sed -n l` print them; the latter breaks lines and ends them by $."""
    if "$\n" in text:
        text = _LINE_END.sub("", _CONTINUED.sub("", text))
    return _c_escapes(_as_utf8(_OCTAL, lambda match: int(match[1], 8), text))


def _of_hex(text: str) -> str:
    return _c_escapes(_as_utf8(_HEX, lambda match: int(match[1], 16), text))


def _c_escapes(text: str) -> str:
    return _C_ESCAPE.sub(lambda match: _C_ESCAPES[match.group()], text)


def _as_utf8(pattern: re.Pattern[str], value: Callable[[re.Match[str]], int], text: str) -> str:
    r"""Bytes where the pattern stands, read with all others as UTF-8.

    >>> _as_utf8(_OCTAL, lambda match: int(match[1], 8), r"\360\237\224\266 Pred")
    '🔶 Pred'
    """
    data, end = bytearray(), 0
    for match in pattern.finditer(text):
        data += text[end : match.start()].encode(errors="replace")
        data.append(value(match) & 0xFF)
        end = match.end()
    data += text[end:].encode(errors="replace")
    return data.decode(errors="replace")


_FORMS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("M-x and ^x (cat -v)", "M-", _of_caret),
    (r"\ooo", r"\3", _of_octal),
    (r"\xHH", r"\x", _of_hex),
    ("%HH", "%F0%9F", urllib.parse.unquote),
)
