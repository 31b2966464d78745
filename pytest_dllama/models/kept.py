"""The cache of synthetic models: what is kept there, when it was used last, and its removal."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.files import user_files
from pytest_dllama.files.locks import locked

PREFIX = "synthetic-"  # as the engine names what it writes
_OWN = (".m", ".t", ".tmp")  # nothing else is ever removed


@dataclass(frozen=True, slots=True)
class KeptModel:
    """One synthetic model with its tokenizer."""

    name: str
    files: tuple[Path, ...]
    size_bytes: int
    used_s: float  # when it was used last, in seconds since the epoch


def cache_folder() -> Path:
    """Where synthetic models are kept between runs."""
    return user_files.cache_folder() / "models"


def note_use(model_file: Path) -> None:
    """It is used now; told by its time of access alone, for its content is as old as it was."""
    try:
        about = model_file.stat()
        os.utime(model_file, ns=(time.time_ns(), about.st_mtime_ns))
    except OSError:
        pass  # another user's file, or a file system that is only read: it is only a remark


def kept_models(folder: Path) -> list[KeptModel]:
    """All of them, the one unused for longest first; none where there is no such folder."""
    models = [_kept(file) for file in _files(folder) if file.suffix == ".m"]
    return sorted(models, key=lambda model: model.used_s)


def _kept(file: Path) -> KeptModel:
    pair = tuple(path for path in (file, file.with_suffix(".t")) if path.exists())
    abouts = [path.stat() for path in pair]
    return KeptModel(
        file.stem.removeprefix(PREFIX),
        pair,
        sum(about.st_size for about in abouts),
        max(abouts[0].st_atime, abouts[0].st_mtime),
    )


def remove(folder: Path, models: Sequence[KeptModel], *, all_rests: bool = False) -> int:
    """Remove models; waits for whoever writes one now.

    Args:
        folder: the cache's.
        models: of `kept_models`.
        all_rests: also what a writer that was killed left there.

    Returns:
        Bytes that were freed.
    """
    freed = 0
    with locked(folder) if folder.is_dir() else nullcontext():  # as the engine's writer locks it
        rests = [path for path in _files(folder) if path.suffix == ".tmp"] if all_rests else []
        for path in [*(file for model in models for file in model.files), *rests]:
            freed += path.stat().st_size
            path.unlink()
    return freed


def _files(folder: Path) -> list[Path]:
    """What the engine wrote there: whole models, and parts of some that were never finished."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_ours(path))


def _is_ours(path: Path) -> bool:
    is_named = path.name.lstrip(".").startswith(PREFIX) and path.suffix in _OWN
    return is_named and path.is_file() and not path.is_symlink()
