"""Files that users name, and folders of theirs.

The files are read in one way: regular ones, of a size that such a file can have.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

_NAME = "pytest-dllama"
SETTINGS_BYTES = 16 << 20  # of a file that people write
RECORD_BYTES = 256 << 20  # of a file that this program writes


def read_text(path: Path, limit_bytes: int) -> str:
    """The text of a UTF-8 file; an editor's byte order mark is no part of it.

    Raises:
        OSError: it cannot be read, is a pipe, device or folder, or is larger than the limit;
            `strerror` says so.
        UnicodeDecodeError: it is no UTF-8.
    """
    from dllama_engine.system.regular_file import read_regular  # none of it in a plain pytest run

    return read_regular(path, limit_bytes).decode("utf-8-sig")


def data_folder() -> Path:
    """Of this user's results; it outlives everything."""
    return _of_user(platformdirs.user_data_dir)


def cache_folder() -> Path:
    """Of what can be made again."""
    return _of_user(platformdirs.user_cache_dir)


def _of_user(find: Callable[[str], str]) -> Path:
    """For a user without a home, as in many containers, a folder that goes with the boot."""
    with suppress(RuntimeError):  # or, by older versions of platformdirs, a relative path
        if os.path.isabs(path := find(_NAME)):
            return Path(path)
    return Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"
