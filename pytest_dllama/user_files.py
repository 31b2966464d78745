"""Files that users name, read in one way: regular ones, of a size that such a file can have."""

from __future__ import annotations

from pathlib import Path

from dllama_engine.system.regular_file import read_regular

SETTINGS_BYTES = 16 << 20  # of a file that people write
RECORD_BYTES = 256 << 20  # of a file that this program writes


def read_text(path: Path, limit_bytes: int) -> str:
    """The text of a UTF-8 file.

    Raises:
        OSError: it cannot be read, is a pipe, device or folder, or is larger than the limit;
            `strerror` says so.
        UnicodeDecodeError: it is no UTF-8.
    """
    return read_regular(path, limit_bytes).decode("utf-8")
