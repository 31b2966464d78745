"""Where images are kept, and which of them this process may use; nothing is built here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from dllama_engine.kernels.cpu import cpu_digest, cpu_features, machine, variant
from dllama_engine.kernels.image.file import Header, ImageRefused, decode
from dllama_engine.kernels.image.targets import NATIVE, fitting
from dllama_engine.kernels.sources import PACKAGE, SETTINGS, text_digest
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.system.own_files import NotOurs, open_own
from dllama_engine.system.process import kernel_cache_folder
from dllama_engine.version import package_version

PACKAGED = PACKAGE / "kernels" / "images"  # of a wheel that carries some
_KEPT = 12  # images, of other states of the sources or other variants
_LARGEST = 1 << 26
_ROOM = 2 << 20  # more than an image takes


class ForOthers(ImageRefused):
    """An image of a wheel that is not for this CPU: there is one for each kind."""


@cache
def sources() -> str:
    """Digest of the sources of this process."""
    return text_digest()


def folder() -> Path:
    """Where this user's images are kept, beside what numba keeps."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or kernel_cache_folder()) / "images"


def path(target: str) -> Path:
    """Where the image for a target belongs, with the CPU and the variant that are in use here."""
    which = f"{NATIVE}-{cpu_digest()}" if target == NATIVE else target
    return folder() / f"{sources()[:12]}-{variant()}-{which}.image"


def is_wanted() -> bool:
    """False where numba's settings ask for other code: then numba is to compile it."""
    return not any(f"NUMBA_{name}" in os.environ for name in SETTINGS)


def find(tell: Callable[[str], None]) -> tuple[Header, memoryview] | None:
    """The best image that fits this process; `tell` hears of each that does not and why."""
    if not is_wanted():
        return None
    here = fitting()
    for at in (*map(path, (NATIVE, *here)), *map(packaged, here)):
        try:
            return load_packaged(at) if at.parent == PACKAGED else load(at)
        except (FileNotFoundError, ForOthers):
            continue
        except ImageRefused as error:
            tell(f"⚠️  Kernels in {at} are not used: {error}")
        except OSError as error:
            tell(f"⚠️  Kernels in {at} are not used: {error.strerror or error}")
    return None


def packaged(target: str) -> Path:
    """Where a wheel that carries images has the one for a target."""
    return PACKAGED / f"{target}.image"


def load_packaged(at: Path) -> tuple[Header, memoryview]:
    """Read and verify an image that came with this code, in its wheel.

    Who can write it can write the code that reads it: whose it is says nothing here.

    Raises:
        FileNotFoundError: there is none.
        ForOthers: it is for other CPUs.
        ImageRefused: it is damaged, or made from other sources.
    """
    header, code = decode(at.read_bytes())
    if header.variant != variant() or set(header.features) - cpu_features():
        raise ForOthers(f"it is for {header.target}")
    _check(header)
    return header, code


def load(at: Path) -> tuple[Header, memoryview]:
    """Read and verify.

    Raises:
        FileNotFoundError: there is none.
        ImageRefused: others can write it, it is damaged, or it does not fit this process.
    """
    header, code = decode(_read(at))
    _check(header)
    return header, code


def _read(at: Path) -> bytes:
    """The bytes of a file that nobody but this user and the superuser can have written."""
    try:
        descriptor = open_own(at)
    except NotOurs as error:
        raise ImageRefused(str(error)) from None
    with open(descriptor, "rb") as file:
        return file.read(_LARGEST)


def _check(header: Header) -> None:
    """Refuse what was made for something else than this process."""
    here = {
        "version": (header.version, package_version(), "another version of dllama-py"),
        "sources": (header.sources, sources(), "other sources of the kernels"),
        "machine": (header.machine, machine(), "another machine"),
        "variant": (header.variant, variant(), "other kernels"),
    }
    for theirs, ours, what in here.values():
        if theirs != ours:
            raise ImageRefused(f"they were built for {what} ({theirs[:24]}, here {ours[:24]})")
    if header.cpu and header.cpu != cpu_digest():
        raise ImageRefused(f"they were built for another CPU ({header.cpu}, here {cpu_digest()})")
    lacks = set(header.features) - cpu_features() if not header.cpu else set()
    if lacks:
        raise ImageRefused(f"this CPU lacks {', '.join(sorted(lacks))}")


def check_room(at: Path) -> None:
    """Find out whether an image could be kept there, before minutes of compiling.

    Raises:
        OSError: of the file system.
    """
    at.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=at.parent) as file:
        os.posix_fallocate(file.fileno(), 0, _ROOM)


def keep(data: bytes, at: Path) -> None:
    """Write an image that only this user can read, whole or not at all, and forget old ones.

    Raises:
        OSError: of the file system.
    """
    at.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_writer(at) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
    images = sorted(at.parent.glob("*.image"), key=lambda each: each.stat().st_mtime)
    for old in images[:-_KEPT]:
        with suppress(OSError):
            old.unlink()


def take(data: bytes) -> Path:
    """Keep an image that another process built, if it fits this machine; where it is then.

    Raises:
        ImageRefused: it is damaged, or does not fit.
        OSError: of the file system.
    """
    header, _ = decode(data)
    _check(header)
    at = path(header.target)
    keep(data, at)
    return at
