"""The image of machine code that this process runs, if any; no numba, no compiler."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dllama_engine.kernels.image import store
from dllama_engine.kernels.image.file import Header, ImageRefused

_WORD = struct.Struct("<Q")
_LIBRARIES = ("libm.so.6",)  # beside what the process holds anyway


class _Image:
    """Code in memory, executable and no longer writable."""

    def __init__(self, header: Header, code: memoryview) -> None:
        self.entries = header.entries
        self._memory = mmap.mmap(-1, len(code), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self._memory)  # keeps it where it is
        self._view[:] = code
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self._view))
        for name, at in header.imports.items():
            _WORD.pack_into(self._view, at, _address_of(name))
        for at in header.rebased:
            _WORD.pack_into(self._view, at, _WORD.unpack_from(self._view, at)[0] + self.base)
        _forget_instructions(self.base, len(code))
        _protect(self.base, header.imports_at, mmap.PROT_READ | mmap.PROT_EXEC)
        _protect(self.base + header.imports_at, len(code) - header.imports_at, mmap.PROT_READ)


def _address_of(name: str) -> int:
    """Where a function of the C library is."""
    for library in (None, *_LIBRARIES):
        with suppress(OSError, AttributeError):
            found = ctypes.cast(getattr(ctypes.CDLL(library), name), ctypes.c_void_p).value
            if found:
                return found
    raise ImageRefused(f"the C library of this system has no {name}")


def _protect(address: int, n_bytes: int, access: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    size = -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), access):
        raise OSError(ctypes.get_errno(), "the system lets no memory become executable")


def _forget_instructions(address: int, n_bytes: int) -> None:
    """Have ARM cores see what was written; x86 needs nothing, and Linux does it for new pages."""
    with suppress(OSError, AttributeError):
        clear: Any = ctypes.CDLL("libgcc_s.so.1").__getattr__("__clear_cache")
        clear(ctypes.c_void_p(address), ctypes.c_void_p(address + n_bytes))


_image: _Image | None = None


def address(name: str) -> int | None:
    """Where a function of the mapped image is; None if none is mapped."""
    return None if _image is None else _image.base + _image.entries[name]


def use(tell: Callable[[str], None]) -> bool:
    """Map the best image that fits, if none is mapped yet; whether there is one now.

    `tell` hears of those that cannot be used and why.
    """
    global _image
    found = None if _image is not None else store.find(tell)
    if found is not None:
        try:
            _image = _Image(*found)
        except (ImageRefused, OSError) as error:
            tell(f"⚠️  Kernels without a compiler cannot be used: {error}")
    return _image is not None
