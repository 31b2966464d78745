"""Prompts of an exact number of tokens, made with a model's tokenizer; the same every time.

The text is of the vocabulary's own words, drawn with a fixed seed. What counts is how many tokens
the engine makes of the whole text, so a text is encoded again and cut until that is right.
"""

from __future__ import annotations

import random
from functools import lru_cache

from pytest_dllama.config.values import MAX_ARGUMENT_BYTES, ConfigError
from pytest_dllama.models.engine_facts import Tokenizer

SEED = 12345
_TRIES = 16  # texts that are drawn before giving up


@lru_cache(maxsize=64)
def exact_prompt(tokenizer: Tokenizer, n_tokens: int) -> str:
    """A text that encodes to exactly `n_tokens` tokens, the tokenizer's own first one counted.

    Of the texts found first, one that the real dllama starts right on (it decodes a stale token
    after some) is preferred, so that one prompt serves all engines.

    Raises:
        ConfigError: a length that no text of this tokenizer has, or that no command line holds.
    """
    pieces = _pieces(tokenizer)
    found: list[str] = []
    for attempt in range(_TRIES):
        text = _cut(tokenizer, _drawn(pieces, n_tokens, attempt), n_tokens) if pieces else None
        if text is None:
            continue
        if tokenizer.stale_last(text) is None:
            return text
        found.append(text)
    if not found:
        raise ConfigError(_no_such_length(tokenizer, n_tokens))
    return found[0]


def _no_such_length(tokenizer: Tokenizer, n_tokens: int) -> str:
    if n_tokens == 1 and tokenizer.vocab.add_bos:
        return (
            "--prompt-tokens 1: this tokenizer begins each prompt with a token of its own, so that "
            "the smallest prompt has 2"
        )
    return (
        f"--prompt-tokens {n_tokens}: no text was found that this tokenizer makes exactly so many "
        "tokens of; use another number, or a --prompt of your own"
    )


def _pieces(tokenizer: Tokenizer) -> list[str]:
    """Tokens that are a word or its beginning, with the space before it."""
    tokens = tokenizer.vocab.tokens[: tokenizer.vocab.bos_id]
    words = [t.decode("ascii") for t in tokens if t[1:].isalpha() and t.isascii() and t[:1] == b" "]
    return words or [t.decode("ascii") for t in tokens if t.isalpha() and t.isascii()]


def _drawn(pieces: list[str], n_tokens: int, attempt: int) -> str:
    """A text of at least so many tokens, most likely."""
    rng = random.Random(SEED + attempt)
    return "".join(rng.choices(pieces, k=n_tokens + 8)).lstrip()


def _cut(tokenizer: Tokenizer, text: str, n_tokens: int) -> str | None:
    """The beginning of a text that has exactly so many tokens; None if it has none.

    How many tokens a beginning has grows with its length, but for a few steps back where a longer
    word merges better: so the length is searched, and its neighbours are looked at.
    """
    if len(text) > MAX_ARGUMENT_BYTES:
        text = text[:MAX_ARGUMENT_BYTES]
        if (held := len(tokenizer.encode(text))) < n_tokens:
            raise ConfigError(
                f"--prompt-tokens {n_tokens}: an argument of a command line holds "
                f"{MAX_ARGUMENT_BYTES} bytes, {held} tokens of such a text; use fewer tokens, or "
                "--context-depth"
            )
    low, high = 1, len(text)
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.encode(text[:middle])) < n_tokens:
            low = middle + 1
        else:
            high = middle
    for length in range(max(low - 16, 1), min(low + 16, len(text)) + 1):
        if text[length - 1] != " " and len(tokenizer.encode(text[:length])) == n_tokens:
            return text[:length]
    return None
