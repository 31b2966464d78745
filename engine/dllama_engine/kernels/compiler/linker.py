"""Puts object files together to one stretch of machine code that runs wherever it is mapped.

All distances inside are settled here. What is left for a rank to do is to write the addresses of a
few functions of the C library into a table of imports at the end: calls to them go through stubs.

Numbers and formulas of relocations: System V ABI for AMD64, table 4.10; ELF for the Arm 64-bit
Architecture (AArch64), section 5.7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from dllama_engine.errors import EngineError
from dllama_engine.kernels.compiler.elf import EXECUTED, WRITTEN, X86_64, ElfObject, Relocation

PAGE = 1 << 16  # of any system that the code may be mapped on
_WORD = 8
_STUB = 16
_BRANCH = 0xD61F0200  # br x16


@dataclass
class Linked:
    """Code and constants, then the table of imports on a page of its own.

    Attributes:
        code: all bytes, the table of imports zeroed.
        entries: where the named functions begin.
        imports: where the addresses of other libraries' functions belong, by name.
        imports_at: where the table begins.
        rebased: places of words to which the address of the whole is to be added.
    """

    code: bytearray
    entries: dict[str, int] = field(default_factory=dict)
    imports: dict[str, int] = field(default_factory=dict)
    imports_at: int = 0
    rebased: list[int] = field(default_factory=list)


def link(objects: Sequence[bytes], entries: Sequence[str]) -> Linked:
    """One image of some objects, of which only `entries` can be reached from outside.

    Raises:
        EngineError: an entry is missing, data would have to be written, or a relocation is unknown.
    """
    return _Link([ElfObject(data) for data in objects]).run(entries)


class _Link:
    def __init__(self, objects: list[ElfObject]) -> None:
        self._objects = objects
        self._is_x86 = objects[0].machine == X86_64
        self._image = Linked(bytearray())
        self._places: dict[tuple[int, int], int] = {}  # (object, section) -> offset
        self._stubs: dict[str, int] = {}

    def run(self, entries: Sequence[str]) -> Linked:
        self._place_sections()
        self._place_imports()
        for index, each in enumerate(self._objects):
            for relocation in each.relocations():
                self._relocate(index, relocation)
        for index, each in enumerate(self._objects):
            for symbol in each.symbols:
                if symbol.is_global and symbol.section and symbol.name in entries:
                    at = self._places[index, symbol.section] + symbol.value
                    self._image.entries[symbol.name] = at
        missing = set(entries) - set(self._image.entries)
        if missing:
            raise EngineError(f"the compiler left out kernels: {', '.join(sorted(missing))}")
        return self._image

    def _place_sections(self) -> None:
        """Code first, then constants."""
        code = self._image.code
        for executed in (True, False):
            for index, each in enumerate(self._objects):
                for number, section in enumerate(each.sections):
                    if not section.is_allocated or bool(section.flags & EXECUTED) != executed:
                        continue
                    if section.name.startswith(".eh_frame"):
                        continue  # nothing unwinds through kernels
                    if section.flags & WRITTEN and not section.name.startswith(".data.rel.ro"):
                        raise EngineError(
                            f"kernels must not write to data of theirs: {section.name}"
                        )
                    code.extend(bytes(-len(code) % max(section.align, 1)))
                    self._places[index, number] = len(code)
                    code.extend(section.data.ljust(section.size, b"\0"))

    def _place_imports(self) -> None:
        """A stub and a word of the table for each function that is not ours."""
        names = sorted(
            {
                each.symbols[relocation.symbol].name
                for each, relocation in self._kept()
                if each.symbols[relocation.symbol].section == 0
            }
        )
        code = self._image.code
        code.extend(bytes(-len(code) % _STUB))
        stubs_at = len(code)
        code.extend(bytes(_STUB * len(names)))
        code.extend(bytes(-len(code) % PAGE))
        self._image.imports_at = len(code)
        for index, name in enumerate(names):
            stub, slot = stubs_at + _STUB * index, len(code)
            self._stubs[name], self._image.imports[name] = stub, slot
            code.extend(bytes(_WORD))
            code[stub : stub + _STUB] = self._stub(stub, slot)

    def _kept(self) -> list[tuple[ElfObject, Relocation]]:
        return [
            (each, relocation)
            for index, each in enumerate(self._objects)
            for relocation in each.relocations()
            if (index, relocation.section) in self._places
        ]

    def _stub(self, at: int, slot: int) -> bytes:
        if self._is_x86:
            return (b"\xff\x25" + struct.pack("<i", slot - at - 6)).ljust(_STUB, b"\xcc")
        page = (slot >> 12) - (at >> 12)
        adrp = 0x90000010 | (page & 3) << 29 | (page >> 2 & 0x7FFFF) << 5  # adrp x16
        load = 0xF9400210 | (slot & 0xFFF) >> 3 << 10  # ldr x16, [x16, ...]
        return struct.pack("<4I", adrp, load, _BRANCH, 0)

    # -- relocations --------------------------------------------------------------------------

    def _relocate(self, index: int, relocation: Relocation) -> None:
        start = self._places.get((index, relocation.section))
        if start is None:
            return
        symbol = self._objects[index].symbols[relocation.symbol]
        if symbol.section:
            target = self._places[index, symbol.section] + symbol.value
        else:
            target = self._stubs[symbol.name]
        at = start + relocation.offset
        apply = self._x86 if self._is_x86 else self._aarch64
        if not apply(relocation.kind, at, target + relocation.addend, symbol.name):
            raise EngineError(
                f"relocation {relocation.kind} against {symbol.name or 'a section'} is unknown: "
                "kernels cannot be linked"
            )

    def _write(self, form: str, at: int, value: int) -> None:
        try:
            struct.pack_into(form, self._image.code, at, value)
        except struct.error:
            raise EngineError(f"kernels are too far from each other: {value} bytes") from None

    def _rebase(self, at: int, target: int) -> None:
        self._write("<q", at, target)
        self._image.rebased.append(at)

    def _x86(self, kind: int, at: int, target: int, name: str) -> bool:
        if kind in (2, 4):  # PC32, PLT32
            self._write("<i", at, target - at)
        elif kind == 1:  # 64
            self._rebase(at, target)
        elif kind == 24:  # PC64
            self._write("<q", at, target - at)
        elif kind in (9, 41, 42) and name in self._stubs:  # GOTPCREL and its relaxed forms
            self._write("<i", at, target - self._stubs[name] + self._image.imports[name] - at)
        else:
            return False
        return True

    def _aarch64(self, kind: int, at: int, target: int, name: str) -> bool:
        if kind in (282, 283):  # JUMP26, CALL26
            self._insert(at, (target - at) // 4, 26, 0)
        elif kind == 275:  # ADR_PREL_PG_HI21
            self._insert_page(at, target)
        elif kind in _LOW_BITS:
            self._insert(at, (target & 0xFFF) >> _LOW_BITS[kind], 12, 10, signed=False)
        elif kind == 257:  # ABS64
            self._rebase(at, target)
        elif kind == 261:  # PREL32
            self._write("<i", at, target - at)
        elif kind == 260:  # PREL64
            self._write("<q", at, target - at)
        elif kind == 311 and name in self._stubs:  # ADR_GOT_PAGE
            self._insert_page(at, self._image.imports[name])
        elif kind == 312 and name in self._stubs:  # LD64_GOT_LO12_NC
            self._insert(at, (self._image.imports[name] & 0xFFF) >> 3, 12, 10, signed=False)
        else:
            return False
        return True

    def _insert_page(self, at: int, target: int) -> None:
        page = (target >> 12) - (at >> 12)
        self._insert(at, page & 3, 2, 29, signed=False)
        self._insert(at, page >> 2, 19, 5)

    def _insert(self, at: int, value: int, bits: int, shift: int, *, signed: bool = True) -> None:
        """Put a number into a field of the instruction."""
        limit = 1 << (bits - 1 if signed else bits)
        if not (-limit if signed else 0) <= value < limit:
            raise EngineError(f"kernels are too far from each other: {value}")
        (word,) = struct.unpack_from("<I", self._image.code, at)
        mask = (1 << bits) - 1
        word = word & ~(mask << shift) | (value & mask) << shift
        struct.pack_into("<I", self._image.code, at, word)


# ADD_ABS_LO12_NC and the loads and stores of 1, 2, 4, 8 and 16 bytes
_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
