"""Byte-pair encoding: learn a dllama vocabulary from text, and encode with it the way dllama does.

Words are split with their leading space and merges never cross a word, so that the words of a text
can be encoded one by one. A token's score is minus its rank: dllama merges the adjacent pair whose
merged token has the highest score, which then is the pair that was learned first. Like dllama, the
trainer looks only at the bytes of a merged pair and not at how they were split.

Knows nothing about files; the oracle for `encode` is `dllama_engine.text.tokenizer`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

N_BYTES = 256
WORD = re.compile(rb" ?[A-Za-z]+|[^A-Za-z]", re.DOTALL)


@dataclass(frozen=True)
class Bpe:
    """A regular vocabulary: all 256 bytes, then merged tokens in the order they were learned."""

    tokens: tuple[bytes, ...]
    _ids: dict[bytes, int] = field(init=False, repr=False, compare=False)
    _words: dict[bytes, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the tokens, which must be distinct and begin with every byte."""
        if self.tokens[:N_BYTES] != single_bytes():
            raise ValueError("a vocabulary must begin with the 256 single bytes in order")
        object.__setattr__(self, "_ids", {token: i for i, token in enumerate(self.tokens)})
        object.__setattr__(self, "_words", {})
        if len(self._ids) != len(self.tokens):
            raise ValueError("a vocabulary must not hold a token twice")

    def scores(self) -> list[float]:
        """Minus the rank of every token; a single byte has the score 0 and is never merged."""
        return [-float(max(i - N_BYTES + 1, 0)) for i in range(len(self.tokens))]

    def encode(self, text: str) -> list[int]:
        """Encode without bos: exactly what dllama gives for the same text."""
        return [i for word in WORD.findall(text.encode()) for i in self._encode_word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """Join the tokens; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.tokens[i] for i in ids).decode(errors="replace")

    def _encode_word(self, word: bytes) -> tuple[int, ...]:
        if word not in self._words:
            parts = [word[i : i + 1] for i in range(len(word))]
            while len(parts) > 1:
                rank, at = min(self._pair_ranks(parts))
                if rank == len(self.tokens):
                    break
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            self._words[word] = tuple(self._ids[part] for part in parts)
        return self._words[word]

    def _pair_ranks(self, parts: list[bytes]) -> list[tuple[int, int]]:
        """(rank, position) of every adjacent pair; the rank is the vocabulary's size if unknown."""
        unknown = len(self.tokens)
        return [(self._ids.get(parts[i] + parts[i + 1], unknown), i) for i in range(len(parts) - 1)]


def single_bytes() -> tuple[bytes, ...]:
    """The 256 tokens every vocabulary begins with."""
    return tuple(bytes([i]) for i in range(N_BYTES))


def train(texts: Iterable[str], n_tokens: int) -> Bpe:
    """Learn `n_tokens` regular tokens, 256 bytes included.

    Raises:
        ValueError: the texts have too few distinct words for that many tokens.
    """
    counts = Counter(word for text in texts for word in WORD.findall(text.encode()))
    words = {word: [word[i : i + 1] for i in range(len(word))] for word in counts}
    tokens = list(single_bytes())
    while len(tokens) < n_tokens:
        pairs = _count_pairs(words, counts)
        if not pairs:
            raise ValueError(
                f"only {len(tokens)} tokens can be learned from {len(counts)} distinct words, "
                f"but {n_tokens} were asked for; add texts or ask for fewer"
            )
        # Ties go to the first in byte order, so that the result depends on nothing else.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        tokens.append(best)
        for parts in words.values():
            _merge(parts, best)
    return Bpe(tuple(tokens))


def _count_pairs(words: dict[bytes, list[bytes]], counts: Counter[bytes]) -> Counter[bytes]:
    pairs: Counter[bytes] = Counter()
    for word, parts in words.items():
        for left, right in pairwise(parts):
            pairs[left + right] += counts[word]
    return pairs


def _merge(parts: list[bytes], merged: bytes) -> None:
    """Merge, in place and from the left, every adjacent pair that joins to `merged`."""
    at = 0
    while at + 1 < len(parts):
        if parts[at] + parts[at + 1] == merged:
            parts[at : at + 2] = [merged]
        at += 1
