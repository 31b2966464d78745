"""Reads relocatable ELF objects of 64 bits: sections, symbols, relocations; no instructions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dllama_engine.errors import EngineError

X86_64 = 62  # e_machine
ALLOCATED, EXECUTED, WRITTEN = 2, 4, 1  # sh_flags
_RELOCATABLE = 1
_SYMBOLS, _RELA, _NO_BITS = 2, 4, 8  # sh_type
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")


@dataclass(frozen=True, slots=True)
class Section:
    """One section; `size` counts what is not in the file too."""

    name: str
    kind: int
    flags: int
    align: int
    size: int
    data: bytes
    link: int
    info: int

    @property
    def is_allocated(self) -> bool:
        """Whether it is in memory when the code runs."""
        return bool(self.flags & ALLOCATED) and self.size > 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name at `value` within a section; `section` is 0 where another object has to define it."""

    name: str
    section: int
    value: int
    is_global: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """At `offset` of a section belongs the place of `symbol` + `addend`, in the form of `kind`."""

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


class ElfObject:
    """One object file.

    Raises:
        EngineError: it is no relocatable object of 64 bits, little endian.
    """

    def __init__(self, data: bytes) -> None:
        ident, kind, self.machine, *_, at, _, _, _, _, entry_size, n, names_at = (
            _HEADER.unpack_from(data)
        )
        if ident[:6] != b"\x7fELF\x02\x01" or kind != _RELOCATABLE or entry_size != _SECTION.size:
            raise EngineError("the compiler wrote no 64-bit ELF object: kernels cannot be linked")
        raw = [_SECTION.unpack_from(data, at + _SECTION.size * i) for i in range(n)]
        names = data[raw[names_at][4] :]
        self.sections = [_section(data, names, fields) for fields in raw]
        self.symbols: list[Symbol] = []
        for section in self.sections:
            if section.kind == _SYMBOLS:
                strings = self.sections[section.link].data
                found = _SYMBOL.iter_unpack(section.data)
                self.symbols = [
                    Symbol(_text(strings, name), where, value, info >> 4 != 0)
                    for name, info, _, where, value, _ in found
                ]

    def relocations(self) -> Iterator[Relocation]:
        """Those of sections that are in memory when the code runs."""
        for section in self.sections:
            if section.kind == _RELA and self.sections[section.info].is_allocated:
                for offset, info, addend in _RELOCATION.iter_unpack(section.data):
                    kind, symbol = info & 0xFFFFFFFF, info >> 32
                    yield Relocation(section.info, offset, kind, symbol, addend)


def _section(data: bytes, names: bytes, fields: tuple[int, ...]) -> Section:
    name, kind, flags, _, offset, size, link, info, align, _ = fields
    content = b"" if kind == _NO_BITS else data[offset : offset + size]
    return Section(_text(names, name), kind, flags, align, size, content, link, info)


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()
