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
from dllama_engine.system.process import kernel_cache_folder

_KEPT = 6  # states of the sources, in each variant
_PACKAGE = Path(__file__).parent.parent
# All that compiled code is made of: itself, and the tables whose constants it freezes.
_SOURCES = ("kernels", "tables")
# numba's settings that change what is compiled, though no source did.
_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "DEBUGINFO_DEFAULT"),
    *("DISABLE_JIT", "ENABLE_PROFILING"),
)


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


def sources(package: Path = _PACKAGE) -> list[Path]:
    """Every file whose text is frozen into compiled code."""
    roots = (package / name for name in _SOURCES)
    return sorted(
        path for root in roots for path in (root.rglob("*.py") if root.is_dir() else (root,))
    )


def sources_digest(package: Path = _PACKAGE) -> str:
    """Changes with everything that can change what a kernel computes, but for the CPU.

    The sources, the compiler and the settings that it was given; the CPU is in numba's own index.
    """
    digest = hashlib.sha256()
    for path in sources(package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    settings: Any = config
    frozen = {name: getattr(settings, name, None) for name in _SETTINGS}
    digest.update(f"{numba.__version__} {llvmlite.__version__} {frozen}".encode())
    return digest.hexdigest()[:12]


def installed_digest(package: Path = _PACKAGE) -> str:
    """Changes with where the kernels' sources are and when they were written.

    numba's index does too: another installation of the same version finds nothing compiled.
    """
    digest = hashlib.sha256()
    for path in sources(package):
        found = path.stat()
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    return digest.hexdigest()[:12]


def _forget_old(base: Path) -> None:
    folders = sorted(base.glob("kernels-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in folders[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
