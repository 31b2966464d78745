"""The real dllama at a revision of a checkout of its source, built by its own Makefile."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.config.values import ConfigError
from pytest_dllama.lab.builds.checkout import (
    Revision,
    archive,
    export,
    find_revision,
    kept_build,
    run_build,
)

TARGET = "dllama"


@dataclass(frozen=True, slots=True)
class DllamaSource:
    """What another host needs to build the same."""

    revision: Revision
    tar: bytes  # of all files


def dllama_source(checkout: str, revision: str) -> DllamaSource:
    """The files of a revision.

    Raises:
        ConfigError: no checkout of dllama's source, or no such revision.
    """
    found = find_revision(Path(checkout), revision, "write dllama:CHECKOUT@REV")
    return DllamaSource(found, archive(found))


def build_dllama(source: DllamaSource, tell: Callable[[str], None]) -> Path:
    """The program, built on this machine unless it is there.

    Raises:
        ConfigError: no Makefile, or `make dllama` fails.
    """
    revision = source.revision
    about = {"kind": "dllama", "commit": revision.commit, "checkout": str(revision.checkout)}
    folder = kept_build(
        f"dllama-{revision.commit[:16]}-{platform.machine()}",
        about,
        lambda folder: _make(revision, folder),
        lambda: tell(f"building dllama {revision.label}, kept for later runs"),
    )
    return folder / TARGET


def _make(revision: Revision, folder: Path) -> None:
    source = folder / "source"
    export(revision, source)
    if not (source / "Makefile").is_file():
        raise ConfigError(
            f"--baseline: {revision.label} of {revision.checkout} has no Makefile; it must be a "
            "checkout of dllama's source"
        )
    jobs = f"-j{os.cpu_count() or 1}"
    run_build(["make", "-C", str(source), jobs, TARGET], revision, "built (make dllama)")
    if not (source / TARGET).is_file():
        raise ConfigError(f"--baseline: make dllama of {revision.label} makes no {TARGET}")
    shutil.move(source / TARGET, folder / TARGET)
    shutil.rmtree(source)
