"""Sentences that a run file holds in English, in another language: by their templates.

A template has `{1}`, `{2}` ... where the program put values; a value that is such a sentence itself
is translated too. What no template fits stays as it was told: nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEEPEST = 4  # sentences within sentences
FEW_WORDS = 2
LONGEST = 4000  # characters: more is output of a program, not a sentence of ours


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence of the program: its pattern, and its words in this language."""

    pattern: re.Pattern[str]
    text: str

    @classmethod
    def of(cls, template: str, text: str) -> Told:
        """From the English template.

        >>> told = Told.of("the root ended with exit code {1}", "종료 코드 {1}")
        >>> told.pattern.fullmatch("the root ended with exit code 3").group("v1")
        '3'
        """
        parts = re.split(r"\{(\d)\}", template)
        literal = [re.escape(part) for part in parts[::2]]
        values = [f"(?P<v{number}>.*?)" for number in parts[1::2]]
        is_short = len(values) == 1 and len(" ".join(parts[::2]).split()) <= FEW_WORDS
        if is_short and not parts[0].endswith(": "):  # `{1} threads` is a number, no sentence
            values[0] = f"(?P<v{parts[1]}>\\S*?(?:, \\S+?)*?)"
        joined = [piece for pair in zip(literal, [*values, ""], strict=True) for piece in pair]
        return cls(re.compile("".join(joined), re.DOTALL), text)


def translated(text: str, known: Sequence[Told], depth: int = DEEPEST) -> str:
    """The sentence in the language of `known`, by the first template that fits.

    >>> known = [Told.of("a {1}", "가 {1}"), Told.of("b", "나")]
    >>> translated("a b", known), translated("a c", known), translated("d", known)
    ('가 나', '가 c', 'd')
    >>> translated("tiny-2: b", known)
    'tiny-2: 나'
    >>> translated("tiny-2: 5 heads", [Told.of("{1} heads", "헤드 {1}개")])
    'tiny-2: 헤드 5개'
    >>> workers = [Told.of("workers {1}", "워커 {1}")]
    >>> translated("workers 1, 2", workers), translated("workers are lost", workers)
    ('워커 1, 2', 'workers are lost')
    >>> translated("link: 5 heads; b", [*known, Told.of("link: {1}", "링크: {1}")])
    '링크: 5 heads; 나'
    >>> translated("a 1; b; c", known), translated("in one of the heads", known)
    ('가 1; 나; c', 'in one of the heads')
    """
    if depth == 0 or len(text) > LONGEST:
        return text
    fallback = text
    for told in known:
        match = told.pattern.fullmatch(text)
        if match is not None:
            fallback = _worded(told, match, known, depth)
            if not _takes_more(match):
                return fallback
    name, colon, rest = text.partition(": ")  # a note of one cell or host
    if colon and "; " not in name and (inner := translated(rest, known, depth - 1)) != rest:
        return f"{translated(name + colon, known, 1)}{inner}"
    sentences = text.split("; ")  # several of ours, one after the other
    each = [translated(one, known, depth - 1) for one in sentences] if len(sentences) > 1 else []
    if any(one != other for one, other in zip(each, sentences, strict=False)):
        return "; ".join(each)
    return fallback


def _worded(told: Told, match: re.Match[str], known: Sequence[Told], depth: int) -> str:
    values = {
        name.removeprefix("v"): translated(value, known, depth - 1)
        for name, value in match.groupdict().items()
    }
    return _filled(told.text, values)


def _takes_more(match: re.Match[str]) -> bool:
    """Whether a name in front went into the first value, or another sentence into any.

    `tiny-2: 5 heads` is a note of tiny-2 rather than `{1} heads` of so many.
    """
    values = match.groupdict().items()
    return any("; " in text or (match.start(name) == 0 and ": " in text) for name, text in values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\d)\}", lambda place: values.get(place.group(1), ""), text)
