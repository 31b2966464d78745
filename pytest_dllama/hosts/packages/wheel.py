"""The wheel that hosts get: the engine alone, the same bytes for the same sources.

A host needs no pytest, no SSH library and no report: the engine and numpy are enough, and numba
where it must compile its kernels itself. The engine is taken from where it is installed here, a
checkout or an installed distribution.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from pytest_dllama import __version__
from pytest_dllama.hosts.packages.agent_archive import zip_bytes

PACKAGE = "dllama_engine"
DISTRIBUTION = "pytest-dllama"  # whose version the engine tells
NEEDED = ("numpy",)
COMPILER = "numba"
_SUFFIXES = (".py", ".m", ".t", ".md")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in memory."""

    name: str
    data: bytes
    digest: str  # of the content


@cache
def engine_wheel() -> Wheel:
    """Of the engine that is installed here."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return wheel_of(Path(spec.origin).parent, __version__, requirements())


def wheel_of(package: Path, version: str, needs: Sequence[str]) -> Wheel:
    """A wheel of the engine's sources.

    Args:
        package: folder of the import package.
        version: of the distribution, which the engine tells.
        needs: requirements, as in `Requires-Dist`.
    """
    info = f"pytest_dllama-{version}.dist-info"
    files = _sources(package) | {
        f"{info}/METADATA": _metadata(version, needs).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: pytest-dllama\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\ndllama-py = dllama_engine.cli.main:main\n",
    }
    record = [f"{name},sha256={_record_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    data = zip_bytes(files)
    name = f"pytest_dllama-{version}-py3-none-any.whl"
    return Wheel(name, data, hashlib.sha256(data).hexdigest()[:16])


def _sources(folder: Path) -> dict[str, bytes]:
    return {
        f"{PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in _SUFFIXES
    }


def _metadata(version: str, needs: Sequence[str]) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""])


def requirements(*names: str) -> tuple[str, ...]:
    """What the engine needs, or these of its libraries, with the limits of the distribution."""
    try:
        return engine_needs(requires(DISTRIBUTION) or [], names)
    except PackageNotFoundError:
        return engine_needs([], names)


def engine_needs(known: Sequence[str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """Of a distribution's requirements those of the engine, or these."""
    texts = {re.split(r"[^A-Za-z0-9_.-]", text, maxsplit=1)[0]: text for text in known}
    return tuple(texts.get(name, name) for name in names or NEEDED)


def _record_digest(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
