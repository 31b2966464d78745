"""What is in a model's file, as one number: read once, then known as long as the file is the same.

A file of the same path, inode, size and time of change is trusted to hold the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from pytest_dllama.files import user_files

_BYTES = 16  # of BLAKE2b: more than chance needs, and fast on boards without SHA instructions
_CHUNK_BYTES = 1 << 22
_KEPT = 256  # files whose digests are remembered
_IS_DIGEST = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}")


def file_digest(path: Path) -> str | None:
    """BLAKE2b (128 bits, hexadecimal) of a file's bytes; None if it cannot be read or changes."""
    try:
        with path.open("rb") as file:
            state = _state(path, os.fstat(file.fileno()))
            if (known := _remembered(state)) is not None:
                return known
            hashed = hashlib.blake2b(digest_size=_BYTES)
            while chunk := file.read(_CHUNK_BYTES):
                hashed.update(chunk)
            if _state(path, os.fstat(file.fileno())) != state:
                return None
    except OSError:
        return None
    _remember(state, hashed.hexdigest())
    return hashed.hexdigest()


def _folder() -> Path:
    return user_files.cache_folder() / "model-digests"


def _state(path: Path, about: os.stat_result) -> str:
    """Names a file in this state."""
    known = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    described = repr((str(path.absolute()), *known)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(described, digest_size=_BYTES).hexdigest()


def _remembered(state: str) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        text = (_folder() / state).read_text(encoding="ascii")
        if _IS_DIGEST.fullmatch(text):
            return text
    return None


def _remember(state: str, digest: str) -> None:
    """Whole or not at all; where nothing can be kept it is read again."""
    folder = _folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(digest)
        Path(file.name).replace(folder / state)
        oldest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in oldest[:-_KEPT]:
            path.unlink(missing_ok=True)
