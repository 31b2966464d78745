"""Blanks, bars, commas and unseen letters of an editor's copy -> those that dllama prints."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_dllama.amounts import counted
from pytest_dllama.backends.dllama.printed.lines import clean, read_line
from pytest_dllama.forensics.logs.collectors import ANY_TIME

_OTHER_BLANKS = re.compile("[\t\u00a0\u2000-\u200a\u202f\u3000]")
# dllama fills up its figures to a width
_RUN_TOGETHER = re.compile(r"(?:🔷️?|🔶) (?:Eval|Pred|E|P|G) \d{1,3} ms")
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_BARS = re.compile("[｜│┃∣￨]")
_THOUSANDS_OF_KB = re.compile(r"(?<=\d)['’., ](?=\d{3} kB)")
_TIME_WITHIN = re.compile(rf"[\[(<]?{ANY_TIME}[\])>]? ?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\.)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


def with_plain_letters(lines: list[str]) -> tuple[list[str], list[str]]:
    """Tabs, no-break blanks, variants of signs and decimal commas of an editor's copy."""
    if any(_RUN_TOGETHER.match(line) for line in lines):
        return lines, ["blanks were run together by an editor: those of the text are lost"]
    changed = [_plain(line) if _may_be_changed(line) else None for line in lines]
    n_changed = sum(new is not None for new in changed)
    if not n_changed:
        return lines, []
    if not any(" " in line for line in lines):  # then the text has other blanks too
        changed = [
            new or _OTHER_BLANKS.sub(" ", old) for new, old in zip(changed, lines, strict=True)
        ]
    changes = "with blanks, signs or decimal commas of an editor's, put right"
    note = f"{counted(n_changed, 'line')} {changes}"
    return [new or line for line, new in zip(lines, changed, strict=True)], [note]


def _may_be_changed(line: str) -> bool:
    return not line.isascii() or bool({"\t", ","} & set(line))


def _plain(line: str) -> str | None:
    """The line as dllama prints it; None if it is already so, or no line of dllama's at all."""
    if read_line(clean(line)) is not None:
        return None
    text = line
    for undo in _LETTERS:
        text = undo(text)
        if read_line(clean(text)) is not None:
            return text
    return None


def _with_blanks(text: str) -> str:
    """A tab behind the figures stands for a blank of dllama's and one of the token's."""
    return text.replace("\ufe0f", "").replace("|\t", "|  ").replace("kB\t", "kB  ")


_LETTERS: tuple[Callable[[str], str], ...] = (
    lambda text: _OTHER_BLANKS.sub(" ", _UNSEEN.sub("", _with_blanks(text))),
    lambda text: _BARS.sub("|", text, count=2),
    lambda text: text.replace(r"\|", "|"),  # of a table in Markdown
    lambda text: _THOUSANDS_OF_KB.sub("", text),
    lambda text: _DECIMAL_COMMA.sub(".", _THOUSANDS.sub("", text)),
    lambda text: _TIME_WITHIN.sub("", text, count=1),
)
