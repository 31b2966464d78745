"""The vocabulary of a synthetic model: every byte, a few English words, then pronounceable filler.

Every token is readable ASCII or a single byte, and every longer token is reached by merging.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice, product

from dllama_engine.formats.vocab import Vocab
from dllama_engine.synthetic.shapes import ShapeError

MIN_VOCAB_SIZE = 256 + 2  # the bytes, bos and eos
BOS, EOS = b"<s>", b"</s>"
WORDS = (
    "Hello", " world", " the", " of", " and", " to", " in", " is", " that", " for", " you", " it",
    " with", " on", " this", " are", " one", " all", " was", " can", " node", " token", " time",
)  # fmt: skip
SYLLABLES = tuple(c + v for c, v in product("bdfghklmnprstvwz", "aeiou"))
CHAT_TEMPLATE = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"


def synthetic_vocab(vocab_size: int) -> Vocab:
    """A vocabulary of exactly this size; bos and eos are its last two ids.

    Raises:
        ShapeError: too small for every byte, bos and eos.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise ShapeError(
            f"vocab_size is {vocab_size}; a synthetic vocabulary needs at least {MIN_VOCAB_SIZE} "
            "(256 bytes, bos and eos)"
        )
    n_merged = vocab_size - MIN_VOCAB_SIZE
    merged = [token.encode() for token in islice(_distinct(), n_merged)]
    scores = [0.0] * 256 + [-float(rank) for rank in range(1, n_merged + 1)] + [0.0, 0.0]
    return Vocab(
        tokens=(*(bytes([byte]) for byte in range(256)), *merged, BOS, EOS),
        scores=tuple(scores),
        bos_id=vocab_size - 2,
        eos_ids=(vocab_size - 1,),
        chat_template=CHAT_TEMPLATE,
    )


def _distinct() -> Iterator[str]:
    seen: set[str] = set()
    for token in _candidates():
        if token not in seen:
            seen.add(token)
            yield token


def _candidates() -> Iterator[str]:
    """Words with their prefixes, then syllables and what two shorter ones make; without end."""
    for word in WORDS:
        yield from (word[:end] for end in range(2, len(word) + 1))
    for n_syllables in count(1):
        for syllables in product(SYLLABLES, repeat=n_syllables):
            word = "".join(syllables)
            yield word
            if n_syllables == 1:
                yield " " + word[0]
            yield " " + word
