"""Files and room on a host: how much is free, what is there, small texts beside large files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.agent.supervisor import put

_CHUNK = 1 << 20


def place(request: dict[str, Any]) -> dict[str, Any]:
    """Look into a folder, which is made: free room, sizes, and on request digests and texts.

    `remove` names files and folders that go first, `write` texts that are written then.
    """
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    for name in request.get("remove", ()):
        _remove(folder / name)
    for name, text in request.get("write", {}).items():
        put(folder / name, text)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        "free_bytes": shutil.disk_usage(folder).free,
        "sizes": {path.name: path.stat().st_size for path in files},
        "digests": {name: _digest(folder / name) for name in request.get("digests", ())},
        "texts": {name: _text(folder / name) for name in request.get("texts", ())},
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


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
