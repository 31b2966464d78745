"""Wheels made again from what is installed here, so that hosts of tests need no network."""

from __future__ import annotations

import zipfile
from importlib.metadata import distribution
from pathlib import Path

NEEDED = ("numpy", "numba", "llvmlite", "pip")


def make_wheelhouse(folder: Path) -> Path:
    folder.mkdir()
    for name in NEEDED:
        _repack(name, folder)
    return folder


def _repack(name: str, folder: Path) -> None:
    found = distribution(name)
    tags = [
        line.removeprefix("Tag: ")
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    ]
    python, abi = tags[0].split("-")[:2]
    platforms = ".".join(dict.fromkeys(tag.split("-")[2] for tag in tags))
    wheel = folder / f"{name}-{found.version}-{python}-{abi}-{platforms}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            if ".." not in file.parts and path.suffix != ".pyc" and path.exists():
                archive.write(path, str(file))
