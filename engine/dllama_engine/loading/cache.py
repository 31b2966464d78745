"""The folder in which a worker keeps its weights: which entries, how much room, what goes first."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dllama_engine.errors import EngineError
from dllama_engine.loading.entry import Entry, file_bytes
from dllama_engine.loading.pieces import Layout
from dllama_engine.loading.settings import CacheSettings
from dllama_engine.system.own_files import own_folder
from dllama_engine.system.sizes import format_bytes

MOST_OFFERED = 8  # models of one shape
SPARE_BYTES = 512 << 20  # of the disk that are never taken
_SUFFIX = ".weights"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as a file: of whichever model, whole or not."""

    path: Path
    size_bytes: int
    used_s: float  # when it was used last, in seconds since the epoch


def kept_entries(folder: Path) -> list[Kept]:
    """All of a folder, the one unused for longest first."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        with suppress(FileNotFoundError):  # another process made room
            about = path.lstat()
            found.append(Kept(path, about.st_size, about.st_mtime))
    return sorted(found, key=lambda kept: kept.used_s)


class WeightCache:
    """The entries of one folder, for one worker.

    Args:
        settings: where, and how much.
        tell: hears why something is not kept or not used.
    """

    def __init__(self, settings: CacheSettings, tell: Tell) -> None:
        self._settings, self._tell = settings, tell

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._settings.folder is not None

    def entries(self, layout: Layout) -> list[Entry]:
        """All that a rank of this layout may have kept, the latest used first; close them."""
        folder = self._settings.folder
        found: list[Entry] = []
        if folder is None or not folder.is_dir():
            return found
        for kept in reversed(kept_entries(folder)):
            if not kept.path.name.startswith(layout.key) or len(found) == MOST_OFFERED:
                continue
            try:
                entry = Entry.open(kept.path, layout)
            except FileNotFoundError:
                continue
            except (EngineError, OSError) as error:
                self._tell(f"⚠️  Kept weights are not used: {_reason(error)}")
                continue
            if entry is not None:
                found.append(entry)
        return found

    def new_entry(self, layout: Layout) -> Entry | None:
        """Room for a rank's weights; None, with a word, where there is none."""
        folder = self._settings.folder
        if folder is None:
            return None
        try:
            own_folder(folder)
            if self._make_room(folder, file_bytes(layout)):
                return Entry.create(
                    folder / f"{layout.key}-{secrets.token_hex(4)}{_SUFFIX}", layout
                )
        except (EngineError, OSError) as error:
            self._tell(not_kept(folder, error))
        return None

    def trim(self) -> None:
        """Keep to the limit where several workers took room at the same time."""
        folder = self._settings.folder
        kept = kept_entries(folder) if folder is not None else []
        used = sum(entry.size_bytes for entry in kept)
        for entry in kept:
            if used <= self._settings.limit_bytes:
                return
            if remove(entry.path):
                used -= entry.size_bytes

    def _make_room(self, folder: Path, needed_bytes: int) -> bool:
        """Let entries go that were not used for longest, until as much fits."""
        limit = self._settings.limit_bytes
        if needed_bytes > limit:
            self._tell(
                f"⚠️  Weights are not kept in {folder}: they take "
                f"{format_bytes(needed_bytes)}, the limit is {format_bytes(limit)} "
                "(--weight-cache SIZE)"
            )
            return False
        kept = kept_entries(folder)
        used = sum(entry.size_bytes for entry in kept)
        for entry in kept:
            free = shutil.disk_usage(folder).free
            if used + needed_bytes <= limit and free >= needed_bytes + SPARE_BYTES:
                break
            if remove(entry.path):
                used -= entry.size_bytes
        free = shutil.disk_usage(folder).free
        if used + needed_bytes > limit or free < needed_bytes + SPARE_BYTES:
            self._tell(
                f"⚠️  Weights are not kept in {folder}: they take "
                f"{format_bytes(needed_bytes)}, the disk has {format_bytes(free)} free, of which "
                f"{format_bytes(SPARE_BYTES)} are left alone"
            )
            return False
        return True


def remove(path: Path) -> bool:
    """Remove an entry, unless a process writes it now; those who read it go on."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:  # a link, or another user's: not what is measured here
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def not_kept(folder: Path, error: Exception) -> str:
    """What is said where weights cannot be kept; the session goes on without."""
    return f"⚠️  Weights are not kept in {folder}: {_reason(error)}"


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
