"""One rank's weights in one file, as they were received, each piece behind its digest.

The file is its magic, the layout's key, then for each piece the SHA-256 and the bytes. All places
are known from the layout, so a transfer that was cut leaves a file that ends early, and a piece
that is damaged is written again where it stands. Whatever a piece's digest does not fit is as if it
were not there: nothing needs to be synced, and nothing half-written is ever loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from dllama_engine.arrays import Bytes
from dllama_engine.loading.pieces import Layout
from dllama_engine.system.own_files import open_own

DIGEST_BYTES = 32
_MAGIC = b"dllama weights 1"
_HEAD_BYTES = len(_MAGIC) + DIGEST_BYTES


class Entry:
    """An open file of the cache; `close` it. Several processes may read while one writes."""

    def __init__(self, path: Path, layout: Layout, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._ends = (_HEAD_BYTES, *accumulate(
            (DIGEST_BYTES + piece.nbytes for piece in layout.pieces), initial=_HEAD_BYTES
        ))[1:]  # fmt: skip

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Entry | None:
        """An entry that is there; None if it is of another layout.

        Raises:
            NotOurs: others can have written it.
            OSError: of the file system.
        """
        descriptor = open_own(path, os.O_RDWR)
        if os.pread(descriptor, _HEAD_BYTES, 0) == _head(layout):
            return cls(path, layout, descriptor)
        os.close(descriptor)
        return None

    @classmethod
    def create(cls, path: Path, layout: Layout) -> Entry:
        """A new one, without pieces.

        Raises:
            OSError: of the file system.
        """
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        entry = cls(path, layout, descriptor)
        try:
            entry.lock()
            _write(descriptor, _head(layout), 0)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return entry

    def lock(self) -> bool:
        """Be the only one who writes it, until it is closed; False if another process does."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def n_pieces(self) -> int:
        """How many there are, from the first one on; damaged ones count."""
        size = os.fstat(self._descriptor).st_size
        return bisect_right(self._ends, size) - 1 if size >= _HEAD_BYTES else 0

    def digests(self) -> list[bytes]:
        """What stands before each piece."""
        return [os.pread(self._descriptor, DIGEST_BYTES, at) for at in self._ends[: self.n_pieces]]

    def read(self, index: int, into: Bytes) -> bool:
        """Read a piece and verify it; False if it is damaged or not there.

        Args:
            index: of the layout's pieces.
            into: uint8, contiguous, as long as the piece.
        """
        at = self._ends[index]
        try:
            digest = os.pread(self._descriptor, DIGEST_BYTES, at)
            n_read = os.preadv(self._descriptor, [into.data], at + DIGEST_BYTES)
        except OSError:  # a card that is worn out
            return False
        return n_read == into.nbytes and hashlib.sha256(into.data).digest() == digest

    def write(self, index: int, digest: bytes, data: bytes) -> None:
        """Put a piece where it belongs.

        Raises:
            OSError: of the file system.
        """
        _write(self._descriptor, digest + data, self._ends[index])

    def sync(self) -> None:
        """Have what was written on the disk before anything is measured."""
        os.fdatasync(self._descriptor)

    def cut_after(self, n_pieces: int) -> None:
        """Forget the pieces behind the first few; without any the file goes."""
        with suppress(OSError):
            if n_pieces == 0:
                self.path.unlink()
            else:
                os.ftruncate(self._descriptor, self._ends[n_pieces])

    def touch(self) -> None:
        """It is used now: entries that were not for longest go first."""
        with suppress(OSError):
            os.utime(self._descriptor)

    def close(self) -> None:
        """Let go of the file and of its lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def file_bytes(layout: Layout) -> int:
    """Size of a whole entry."""
    return _HEAD_BYTES + layout.nbytes + DIGEST_BYTES * len(layout)


def _head(layout: Layout) -> bytes:
    return _MAGIC + layout.key.encode().ljust(DIGEST_BYTES, b"\0")


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(descriptor, view, at)
        view, at = view[n:], at + n
