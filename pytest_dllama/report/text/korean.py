"""Korean particles: which of 은/는, 이/가, 을/를, 와/과, (으)로 follows a computed word.

The choice hangs on whether the word as it is *read aloud* ends in a consonant (받침), so digits
are read in Sino-Korean and Latin letters by their names. Knows nothing about reports.
"""

from __future__ import annotations

import re

_HANGUL_FIRST = 0xAC00  # 가
_HANGUL_LAST = 0xD7A3  # 힣
_FINALS = 28  # final consonants a syllable can have, "none" included
_RIEUL = 8  # index of ㄹ among them
_OTHER = 1  # any final consonant that is not ㄹ

# 영 일 이 삼 사 오 육 칠 팔 구
_DIGIT_FINALS = (_OTHER, _RIEUL, 0, _OTHER, 0, 0, _OTHER, _RIEUL, _RIEUL, 0)
# Trailing zeros of a whole number: 십 백 천 만 십만 백만 천만 억 십억 백억 천억 조
_POWER_FINALS = (_OTHER,) * 11 + (0,)
_LETTER_FINALS = {"l": _RIEUL, "r": _RIEUL, "m": _OTHER, "n": _OTHER}  # 엘 알 엠 엔
_WORD_FINALS = {"l": _RIEUL, "m": _OTHER, "n": _OTHER, "ng": _OTHER, "ck": _OTHER}

_PAIRS = {
    "은/는": ("은", "는"),
    "이/가": ("이", "가"),
    "을/를": ("을", "를"),
    "과/와": ("과", "와"),
    "으로/로": ("으로", "로"),
    "이나/나": ("이나", "나"),
}


def final_consonant(word: str) -> int:
    """0 without a final consonant, 8 for ㄹ, another number for any other.

    >>> [final_consonant(word) for word in ("모델", "노드", "13B", "30", "q80", "tiny", "0.83")]
    [8, 0, 0, 1, 1, 0, 1]

    Words in brackets do not count, nor does punctuation:

    >>> final_consonant("13B (0.83)"), final_consonant("**모델**")
    (0, 8)
    """
    text = re.sub(r"\s*\([^()]*\)\W*$", "", word)
    match = re.search(r"(\w)[^\w%]*$", text.replace("_", ""))
    if match is None or text.rstrip("*`\"') ").endswith("%"):  # 퍼센트
        return 0
    last = match.group(1)
    spoken = text.replace("_", "")[: match.end(1)]
    if "가" <= last <= "힣":
        return (ord(last) - _HANGUL_FIRST) % _FINALS
    if last in "0123456789":
        return _number_final(spoken)
    return _latin_final(spoken)


def particle(word: str, pair: str) -> str:
    """The particle of `pair` that follows `word`.

    >>> particle("13B", "이/가"), particle("모델", "은/는"), particle("8", "으로/로")
    ('가', '은', '로')
    """
    with_final, without = _PAIRS[pair]
    final = final_consonant(word)
    if pair == "으로/로" and final == _RIEUL:
        return without
    return with_final if final else without


def josa(word: str, pair: str) -> str:
    """`word` with its particle.

    >>> josa("llama-160m", "과/와"), josa("tiny", "을/를"), josa("10", "이/가")
    ('llama-160m과', 'tiny를', '10이')
    """
    return word + particle(word, pair)


def _number_final(spoken: str) -> int:
    number = re.search(r"[\d,.]*\d$", spoken)
    digits = number.group().replace(",", "") if number else spoken[-1]
    whole = digits.lstrip("0") if "." not in digits else ""
    zeros = len(whole) - len(whole.rstrip("0"))
    if zeros:
        return _POWER_FINALS[min(zeros, len(_POWER_FINALS)) - 1]
    return _DIGIT_FINALS[int(digits[-1])]


def _latin_final(spoken: str) -> int:
    run = re.search(r"[A-Za-z]+$", spoken)
    if run is None:  # a script whose reading is unknown
        return 0
    letters = run.group()
    spelled = len(letters) == 1 or letters.isupper()
    if spelled:
        return _LETTER_FINALS.get(letters[-1].lower(), 0)
    ending = letters.lower()
    return _WORD_FINALS.get(ending[-2:], _WORD_FINALS.get(ending[-1], 0))
