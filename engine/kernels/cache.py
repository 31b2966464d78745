"""Where numba keeps compiled kernels: one folder for each state of the sources and each variant.

numba looks at the file of the function that it loads only; a kernel that calls another module's
would go on with that module's old code, or with another instruction set's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import config

from engine.kernels.cpu import variant
from engine.process import kernel_cache_folder

_KEPT = 6  # states of the sources, in each variant


def use_own_folder() -> None:
    """Point numba at the folder of these sources; before any kernel is decorated."""
    settings: Any = config
    base = Path(settings.CACHE_DIR or kernel_cache_folder())
    own = base / f"kernels-{sources_digest()}-{variant()}"
    settings.CACHE_DIR = str(own)
    with suppress(OSError):
        if not own.exists():
            _forget_old(base)
        own.mkdir(parents=True, exist_ok=True)
        os.utime(own)


def folder() -> str:
    """Where compiled kernels are kept."""
    settings: Any = config
    return str(settings.CACHE_DIR)


def sources_digest() -> str:
    """Changes with every change of the kernels' sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def installed_digest(sources: Path = Path(__file__).parent) -> str:
    """Changes with where the kernels' sources are and when they were written.

    numba's index does too: another installation of the same version finds nothing compiled.
    """
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        found = path.stat()
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    return digest.hexdigest()[:12]


def _forget_old(base: Path) -> None:
    folders = sorted(base.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
