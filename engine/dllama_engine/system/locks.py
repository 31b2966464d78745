"""One process at a time: a file or a folder that others wait for. The system ends it with us."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder, or a file that is made for it, while all others who ask wait.

    Raises:
        OSError: it cannot be opened, or its file system has no locks.
    """
    kind = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, kind | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_if_possible(file: Path, folder_mode: int = 0o777) -> Iterator[bool]:
    """As `locked`, the file's folder made too; False, and nobody waits, where there can be none."""
    with contextlib.ExitStack() as held:
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=folder_mode)
            held.enter_context(locked(file))
        except OSError:
            is_held = False
        else:
            is_held = True
        yield is_held
