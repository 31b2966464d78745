"""The `.t` file and its byte-pair encoding: text -> token ids -> text, as dllama does it.

Knows nothing about weights and chats. Ids below bos are the regular vocabulary, bos and above are
special: special tokens are matched literally, the rest is merged pair by pair.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator

from dllama_engine.errors import TokenizerError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.vocab import Vocab, read_vocab
from dllama_engine.text.bpe import MergeTable, merge


class Tokenizer:
    """Encodes and decodes with one vocabulary.

    Args:
        vocab: of a tokenizer file.
        model_size: how many ids the model knows; by default as many as the vocabulary has. Ids
            beyond either are never encoded, and one without a token prints nothing.
    """

    def __init__(self, vocab: Vocab, model_size: int | None = None) -> None:
        self.vocab = vocab
        self._model_size = len(vocab.tokens) if model_size is None else model_size
        regular = vocab.tokens[: min(vocab.bos_id, self._model_size)]
        self._merges = MergeTable(regular, vocab.scores)
        self._special = _SpecialTokens(vocab, self._model_size)

    def encode(self, text: str | bytes, add_bos: bool | None = None) -> list[int]:
        """Token ids of a text; `add_bos=None` does what the file says.

        Raises `TokenizerError` with the position of bytes that no token holds.
        """
        data = _to_bytes(text)
        wants_bos = self.vocab.add_bos if add_bos is None else add_bos
        return merge(self._begin(wants_bos) + self._split(data), self._merges)

    def encode_with_lasts(self, text: str | bytes) -> tuple[list[int], list[int]]:
        """Token ids of a text, and the last id of their list as it stood before each merge."""
        lasts: list[int] = []
        ids = self._begin(self.vocab.add_bos)
        return merge(ids + self._split(_to_bytes(text)), self._merges, lasts), lasts

    def _begin(self, wants_bos: bool) -> list[int]:
        """The ids before a text: the model may not know bos."""
        bos_id = self.vocab.bos_id
        return [bos_id] if wants_bos and bos_id < self._model_size else []

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that the ids print; bos and eos print nothing."""
        return b"".join(self.piece(token_id) for token_id in ids)

    def piece(self, token_id: int) -> bytes:
        """The bytes that one id prints.

        Raises:
            TokenizerError: an id that model and vocabulary do not have.
        """
        if not 0 <= token_id < max(self._model_size, len(self.vocab.tokens)):
            raise TokenizerError(
                f"token id {token_id} is outside the vocabulary of {len(self.vocab.tokens)}; "
                "model and tokenizer do not belong together"
            )
        if token_id >= len(self.vocab.tokens):
            return b""
        silent = token_id == self.vocab.bos_id or token_id in self.vocab.eos_ids
        return b"" if silent else self.vocab.tokens[token_id]

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for one run of ids that arrive one by one."""
        return StreamDecoder(self)

    def _split(self, data: bytes) -> list[int]:
        """Special tokens where they stand literally, and the shortest regular tokens between."""
        ids: list[int] = []
        start = 0
        for begin, end, token_id in self._special.find(data):
            ids += self._accumulate(data, start, begin)
            ids.append(token_id)
            start = end
        return ids + self._accumulate(data, start, len(data))

    def _accumulate(self, data: bytes, start: int, stop: int) -> list[int]:
        """Bytes gather until they are a regular token; then the next one begins."""
        find, lengths = self._merges.token_id, self._merges.lengths
        ids: list[int] = []
        while start < stop:
            for length in lengths:
                token_id = find(data[start : start + length])
                if token_id is not None and start + length <= stop:
                    break
            else:
                raise TokenizerError(_unknown_bytes(data, start, stop))
            ids.append(token_id)
            start += length
        return ids


class _SpecialTokens:
    """Finds special tokens that stand literally in a text; of several the lowest id wins."""

    def __init__(self, vocab: Vocab, model_size: int) -> None:
        special = range(vocab.bos_id, min(len(vocab.tokens), model_size))
        self._tokens = vocab.tokens
        self._ids = {vocab.tokens[i]: i for i in reversed(special)}
        self._lengths = sorted({len(token) for token in self._ids})
        first_bytes = {re.escape(token[:1]) for token in self._ids}
        pattern = b"[" + b"".join(sorted(first_bytes)) + b"]" if first_bytes else b"(?!)"
        self._may_start = re.compile(pattern)

    def find(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """(start, stop, id) of each one, left to right."""
        start = 0
        while candidate := self._may_start.search(data, start):
            start = candidate.start()
            pieces = (data[start : start + length] for length in self._lengths)
            ids = [self._ids[piece] for piece in pieces if piece in self._ids]
            if not ids:
                start += 1
                continue
            stop = start + len(self._tokens[min(ids)])
            yield start, stop, min(ids)
            start = stop


class StreamDecoder:
    """Turns ids into text as they come; holds back UTF-8 that is not complete yet."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes; invalid bytes become U+FFFD, and eos flushes."""
        if token_id in self._tokenizer.vocab.eos_ids:
            return self.flush()
        return self._utf8.decode(self._tokenizer.piece(token_id))

    def flush(self) -> str:
        """End the text: an incomplete character becomes U+FFFD."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


def read_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read a `.t` file; `TokenizerError` names the file, the offset and what was expected."""
    return Tokenizer(read_vocab(path))


def vocab_remark(config: ModelConfig, vocab: Vocab) -> str | None:
    """What to say of a tokenizer whose vocabulary is not the model's; None if it is.

    Models are trained with more ids than their tokenizers have, so as to split well.
    """
    found, known = len(vocab.tokens), config.vocab_size
    if found == known:
        return None
    effect = (
        f"ids from {found} on print nothing"
        if found < known
        else f"tokens from {known} on are never used"
    )
    bos = f"; the model does not know bos ({vocab.bos_id})" if vocab.bos_id >= known else ""
    return f"The tokenizer has {found} tokens, the model's vocabulary {known}: {effect}{bos}"


def _to_bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text is a lone surrogate and has no UTF-8 form"
        ) from None


def _unknown_bytes(data: bytes, start: int, stop: int) -> str:
    found = [f"{byte:#04x}" for byte in data[start : min(stop, start + 8)]]
    return (
        f"no token holds the bytes {' '.join(found)} at byte {start} of the text; "
        "the vocabulary lacks single bytes, convert the tokenizer again with byte tokens"
    )
