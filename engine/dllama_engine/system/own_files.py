"""Files that nobody but this user and the superuser can have written, and folders of such files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dllama_engine.errors import EngineError


class NotOurs(EngineError):
    """A file or its folder belongs to somebody else, or others can write it."""


def own_folder(folder: Path) -> Path:
    """Make a folder of this user's, if it is not there.

    Raises:
        NotOurs: what is there is another user's, or others can write it.
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_ours(folder, folder.stat())
    return folder


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file of this user's that no link leads to; its descriptor.

    Raises:
        NotOurs: as `own_folder`, of the file or of its folder.
        OSError: of the file system.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotOurs(f"{path} is no regular file")
        check_ours(path.parent, path.parent.stat())
        check_ours(path, found)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_ours(place: Path, found: os.stat_result) -> None:
    """Refuse what others may have written.

    Raises:
        NotOurs: naming the place and the remedy.
    """
    if found.st_uid not in (0, os.geteuid()):
        raise NotOurs(f"{place} belongs to user {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise NotOurs(f"others can write {place} (mode {mode:o}); chmod go-w {place}")
