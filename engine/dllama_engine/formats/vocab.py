"""The vocabulary of a `.t` file: checked reader and atomic writer. Knows nothing about encoding."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from dllama_engine.errors import TokenizerError
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.system.regular_file import open_regular

MAGIC = 0x567124
OLD_MAGIC = 0x567123
VERSION = 1
MAX_HEADER_BYTES = 64 * 1024
MAX_FILE_BYTES = 256 << 20  # the largest real ones have some 5 MB

KEYS = {
    0: "version",
    1: "vocab_size",
    2: "max_token_length",
    3: "bos_id",
    4: "eos_id",  # old: one eos
    5: "pad_id",  # ignored
    6: "chat_eos_id",  # old: one more eos
    7: "chat_template_bytes",
    8: "chat_stop_bytes",  # old: skipped
    9: "n_eos_ids",
    10: "add_bos",
}


@dataclass(frozen=True, slots=True)
class Vocab:
    """Tokens and their scores; ids below `bos_id` are regular, bos and above are special.

    `max_token_length` 0 means: that of the longest token. `has_add_bos`: the file says whether a
    prompt begins with bos, as converters of before dllama v0.14.0 did not; then it does.
    """

    tokens: tuple[bytes, ...]
    scores: tuple[float, ...]
    bos_id: int
    eos_ids: tuple[int, ...]
    add_bos: bool = True
    chat_template: str | None = None
    max_token_length: int = field(default=0)
    has_add_bos: bool = True

    def __post_init__(self) -> None:
        """Check ids, lengths and scores; `TokenizerError` names the token that cannot be."""
        if len(self.tokens) != len(self.scores):
            raise TokenizerError(f"{len(self.tokens)} tokens but {len(self.scores)} scores")
        _check_id("bos_id", self.bos_id, len(self.tokens))
        for eos_id in self.eos_ids:
            _check_id("eos id", eos_id, len(self.tokens))
        longest = max(map(len, self.tokens), default=0)
        if self.max_token_length == 0:
            object.__setattr__(self, "max_token_length", longest)
        for token_id, (token, score) in enumerate(zip(self.tokens, self.scores, strict=True)):
            if not token:
                raise TokenizerError(f"token {token_id} is empty")
            if not math.isfinite(score):
                raise TokenizerError(f"token {token_id} has the score {score}, expected a number")
        if longest > self.max_token_length:
            raise TokenizerError(
                f"the longest token has {longest} bytes, max_token_length is "
                f"{self.max_token_length}"
            )


def read_vocab(path: str | os.PathLike[str]) -> Vocab:
    """Read and check a `.t` file; `TokenizerError` names the file and what was expected where."""
    try:
        with open_regular(path) as file:
            _check_magic(file.read(4))
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise TokenizerError(f"more than {MAX_FILE_BYTES} bytes: no .t file")
            file.seek(0)
            return _parse(file.read())
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror or error}") from None
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {error}") from None


def write_tokenizer(path: str | os.PathLike[str], vocab: Vocab) -> None:
    """Write a vocabulary whole or not at all."""
    with atomic_writer(Path(path)) as file:
        file.write(encode_vocab(vocab))


def encode_vocab(vocab: Vocab) -> bytes:
    """The bytes of a `.t` file."""
    template = (vocab.chat_template or "").encode()
    values = {
        3: vocab.bos_id,
        0: VERSION,
        1: len(vocab.tokens),
        2: vocab.max_token_length,
        7: len(template),
        9: len(vocab.eos_ids),
        10: int(vocab.add_bos),
    }
    pairs = [(key, value) for key, value in values.items() if key != 7 or template]
    parts = [struct.pack("<II", MAGIC, 8 + 8 * len(pairs))]
    parts += [struct.pack("<ii", *pair) for pair in pairs]
    parts += [template, struct.pack(f"<{len(vocab.eos_ids)}i", *vocab.eos_ids)]
    for token, score in zip(vocab.tokens, vocab.scores, strict=True):
        parts += [struct.pack("<fI", score, len(token)), token]
    return b"".join(parts)


def _check_magic(head: bytes) -> None:
    if len(head) < 4:
        raise TokenizerError(f"{len(head)} bytes, too short for a header")
    (magic,) = struct.unpack("<I", head)
    if magic == OLD_MAGIC:
        raise TokenizerError(
            f"old format {magic:#x} (fixed header); convert the tokenizer again with a current "
            "converter"
        )
    if magic != MAGIC:
        raise TokenizerError(f"magic at offset 0 is {magic:#x}, expected {MAGIC:#x}: no .t file")


def _parse(data: bytes) -> Vocab:
    header, offset = _read_pairs(data)
    offset = _skip(data, offset, header.get("chat_stop_bytes", 0), "chat stop")
    start, offset = offset, _skip(data, offset, header.get("chat_template_bytes", 0), "template")
    template = data[start:offset].decode("utf-8", errors="replace") or None
    eos_ids = [header[name] for name in ("eos_id", "chat_eos_id") if name in header]
    start, offset = offset, _skip(data, offset, 4 * header.get("n_eos_ids", 0), "eos ids")
    eos_ids += struct.unpack_from(f"<{(offset - start) // 4}i", data, start)
    tokens, scores = _read_tokens(data, offset, header["vocab_size"])
    return Vocab(
        tokens=tokens,
        scores=scores,
        bos_id=header["bos_id"],
        eos_ids=tuple(dict.fromkeys(eos_ids)),
        add_bos=header.get("add_bos", 1) == 1,
        chat_template=template,
        max_token_length=header["max_token_length"],
        has_add_bos="add_bos" in header,
    )


def _read_pairs(data: bytes) -> tuple[dict[str, int], int]:
    """Header values by name, and the header's size in bytes."""
    if len(data) < 8:
        raise TokenizerError(f"{len(data)} bytes, too short for a header (at least 8)")
    (size,) = struct.unpack_from("<i", data, 4)
    if size < 8 or (size - 8) % 8 or size > min(len(data), MAX_HEADER_BYTES):
        raise TokenizerError(
            f"header size at offset 4 is {size}, expected 8 + 8 a pair, within the file's "
            f"{len(data)} bytes"
        )
    header: dict[str, int] = {}
    for offset in range(8, size, 8):
        key, value = struct.unpack_from("<ii", data, offset)
        if key not in KEYS:
            raise TokenizerError(
                f"unknown header key {key} at offset {offset}; known are 0 to {max(KEYS)}"
            )
        header[KEYS[key]] = value
    _check_header(header)
    return header, size


def _check_header(header: dict[str, int]) -> None:
    if header.get("version") != VERSION:
        raise TokenizerError(
            f"version {header.get('version')}, expected {VERSION}; convert the tokenizer again"
        )
    for name in ("vocab_size", "max_token_length", "bos_id"):
        if header.get(name, -1) < (0 if name == "bos_id" else 1):
            raise TokenizerError(f"{name} is {header.get(name, 'missing')} in the header")


def _skip(data: bytes, offset: int, length: int, what: str) -> int:
    """The offset behind a part, once the part is known to be inside the file."""
    if not 0 <= length <= len(data) - offset:
        raise TokenizerError(
            f"{what} at offset {offset} has {length} bytes, {len(data) - offset} are left"
        )
    return offset + length


def _read_tokens(
    data: bytes, offset: int, vocab_size: int
) -> tuple[tuple[bytes, ...], tuple[float, ...]]:
    if vocab_size > (len(data) - offset) // 8:
        raise TokenizerError(
            f"vocab_size is {vocab_size}, but the {len(data) - offset} bytes after offset "
            f"{offset} hold at most {(len(data) - offset) // 8} tokens"
        )
    tokens, scores = [], []
    entry = struct.Struct("<fI")
    for token_id in range(vocab_size):
        if len(data) - offset < entry.size:
            raise TokenizerError(f"the file ends at token {token_id} of {vocab_size}; truncated")
        score, length = entry.unpack_from(data, offset)
        end = _skip(data, offset + entry.size, length, f"token {token_id}")
        tokens.append(data[offset + entry.size : end])
        scores.append(score)
        offset = end
    if offset != len(data):
        raise TokenizerError(f"{len(data) - offset} trailing bytes after the last token")
    return tuple(tokens), tuple(scores)


def _check_id(name: str, token_id: int, vocab_size: int) -> None:
    if not 0 <= token_id < vocab_size:
        raise TokenizerError(f"{name} is {token_id}, expected 0 to {vocab_size - 1}")
