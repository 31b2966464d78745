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

import llvmlite
import numba
from numba import config

from dllama_engine.kernels.cpu import variant
from dllama_engine.kernels.sources import PACKAGE, SETTINGS, text_digest
from dllama_engine.system.process import kernel_cache_folder

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


def sources_digest(package: Path = PACKAGE) -> str:
    """Changes with everything that can change what a kernel computes, but for the CPU.

    The sources, the compiler and the settings that it was given; the CPU is in numba's own index.
    """
    settings: Any = config
    frozen = {name: getattr(settings, name, None) for name in SETTINGS}
    described = f"{text_digest(package)} {numba.__version__} {llvmlite.__version__} {frozen}"
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _forget_old(base: Path) -> None:
    folders = sorted(base.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
