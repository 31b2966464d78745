"""An image of machine code as it stands in a file: a digest, a header in JSON, the code.

The code runs wherever it is mapped on an edge of a page. It refers to nothing outside but the
functions of the C library whose addresses belong into its table of imports.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from dllama_engine.errors import EngineError

FORMAT = 1
_MAGIC = b"dllama kernels\n\0"
_PREFIX = struct.Struct("<16s32sQ")  # magic, SHA-256 of all that follows it, bytes of the header


class ImageRefused(EngineError):
    """An image is damaged, or made for something else; the message says what."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the code is, and whom it fits.

    Attributes:
        version: of the package.
        sources: digest of what it was compiled from (`kernels.sources.text_digest`).
        machine: instruction set, e.g. aarch64.
        variant: of the products (`kernels.cpu.variant`).
        target: the CPU that it was compiled for, by name.
        cpu: digest of the only CPU that it fits; empty if any with `features` will do.
        features: those that the CPU must have, by LLVM's names.
        compiler: of whom, for people.
        entries: where each function begins.
        imports: where the address of each function of the C library belongs.
        imports_at: where they begin, on a page of their own.
        rebased: places of words to which the address of the code is to be added.
        format: of this file.
    """

    version: str
    sources: str
    machine: str
    variant: str
    target: str
    cpu: str
    features: tuple[str, ...]
    compiler: str
    entries: dict[str, int]
    imports: dict[str, int]
    imports_at: int
    rebased: tuple[int, ...] = ()
    format: int = FORMAT


def encode(header: Header, code: bytes) -> bytes:
    """The bytes of the file."""
    described = json.dumps(asdict(header), sort_keys=True).encode()
    size = struct.pack("<Q", len(described))
    digest = hashlib.sha256(size + described + code).digest()
    return _PREFIX.pack(_MAGIC, digest, len(described)) + described + code


def decode(data: bytes) -> tuple[Header, memoryview]:
    """Header and code.

    Raises:
        ImageRefused: these are not the bytes of a whole image of this format.
    """
    if len(data) < _PREFIX.size:
        raise ImageRefused("it is damaged (cut off)")
    magic, digest, size = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise ImageRefused("it is no image of kernels")
    if hashlib.sha256(memoryview(data)[48:]).digest() != digest:
        raise ImageRefused("it is damaged (its digest is another)")
    described: dict[str, Any] = json.loads(data[_PREFIX.size : _PREFIX.size + size])
    if described.get("format") != FORMAT:
        raise ImageRefused(f"its format is {described.get('format')}, not {FORMAT}")
    for name in ("features", "rebased"):
        described[name] = tuple(described[name])
    return Header(**described), memoryview(data)[_PREFIX.size + size :]
