"""What `--weight-cache` says: where a worker keeps weights, and how much. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dllama_engine.errors import RequestError
from dllama_engine.system.process import user_folder

CACHE_VARIABLE = "DLLAMA_PY_WEIGHT_CACHE"  # what stands for --weight-cache where it is not given
DEFAULT_LIMIT_BYTES = 8 << 30
_UNITS = {"": 1, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What `--weight-cache` says; no folder: nothing is kept."""

    folder: Path | None
    limit_bytes: int = DEFAULT_LIMIT_BYTES


OFF = CacheSettings(None)


def parse_cache(text: str) -> CacheSettings:
    """`off`, `on`, a size, a folder, or `FOLDER,SIZE`.

    Raises:
        RequestError: a size that cannot be.

    >>> parse_cache("/mnt/ssd,2GiB")
    CacheSettings(folder=PosixPath('/mnt/ssd'), limit_bytes=2147483648)
    >>> parse_cache("off").folder, parse_cache("500MB").limit_bytes
    (None, 500000000)
    """
    if text == "off":
        return OFF
    folder, comma, size = text.rpartition(",")
    limit = _size(size)
    if limit is None and (comma or not text):
        raise RequestError(
            f"{text!r}: expected off, on, a size as in 8GiB, a folder, or FOLDER,SIZE"
        )
    if limit is not None:
        return CacheSettings(Path(folder) if folder else default_folder(), limit)
    return CacheSettings(default_folder() if text == "on" else Path(text).expanduser())


def _size(text: str) -> int | None:
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _UNITS[found[2].lower()])


def default_folder() -> Path | None:
    """Beside the compiled kernels in this user's cache; None for a user without a home."""
    base = user_folder("XDG_CACHE_HOME", ".cache")
    return None if base is None else base / "dllama-py" / "weights"
