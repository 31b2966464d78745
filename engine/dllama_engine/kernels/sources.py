"""The files that compiled code is made of, and digests that tell their states apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
# All that compiled code is made of: itself, and the tables whose constants it freezes.
_SOURCES = ("kernels", "tables")
# numba's settings that change what is compiled, though no source did.
SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "DEBUGINFO_DEFAULT"),
    *("DISABLE_JIT", "ENABLE_PROFILING"),
)


def sources(package: Path = PACKAGE) -> list[Path]:
    """Every file whose text is frozen into compiled code."""
    roots = (package / name for name in _SOURCES)
    return sorted(
        path for root in roots for path in (root.rglob("*.py") if root.is_dir() else (root,))
    )


def text_digest(package: Path = PACKAGE) -> str:
    """Changes with every change of the sources, wherever they are."""
    digest = hashlib.sha256()
    for path in sources(package):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def installed_digest(package: Path = PACKAGE) -> str:
    """Changes with where the kernels' sources are and when they were written.

    numba's index does too: another installation of the same version finds nothing compiled.
    """
    digest = hashlib.sha256()
    for path in sources(package):
        found = path.stat()
        digest.update(f"{path}\0{found.st_mtime_ns}\0{found.st_size}\0".encode())
    return digest.hexdigest()[:12]
