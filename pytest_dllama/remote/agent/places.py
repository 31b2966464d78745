"""Files and room on a host: how much is free, what a file's content is."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def place(request: dict[str, Any]) -> dict[str, Any]:
    """Make a folder; tell its free room and the digests of the files asked for.

    A file that is not there has no digest. With `remove`, these files and folders go first.
    """
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    for name in request.get("remove", ()):
        _remove(folder / name)
    return {
        "free_bytes": shutil.disk_usage(folder).free,
        "digests": {name: _digest(folder / name) for name in request.get("digests", ())},
        "names": sorted(path.name for path in folder.iterdir()),
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
