"""Files that appear whole or not at all: written without a name, synced, then put into place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends well and vanishes when it does not.

    Where the file system can hold a file without a name, not even a killed process leaves one.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.unlink(missing_ok=True)  # of a process that was killed and had our number
    try:
        unnamed = _open_unnamed(path.parent)
        with unnamed or open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if unnamed:
                _name(unnamed, partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _open_unnamed(folder: Path) -> BinaryIO | None:
    """A file that exists only as long as it is open, or None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb")
    except OSError:
        return None


def _name(file: BinaryIO, path: Path) -> None:
    """Give an unnamed file a name: linkat(AT_SYMLINK_FOLLOW), which needs a folder descriptor."""
    folder = os.open("/", os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
