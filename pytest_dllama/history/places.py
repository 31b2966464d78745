"""Where a cluster's history lies: one folder a fingerprint, below a home that outlives builds."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_dllama.files.user_files import data_folder


def default_folder() -> Path:
    """Of all histories; it outlives `make clean`."""
    return data_folder() / "history"


def cluster_folder(folder: Path, fingerprint: str) -> Path:
    """Of one cluster; a fingerprint from a stranger's run file cannot lead out of `folder`.

    >>> cluster_folder(Path("history"), "../../evil").as_posix()
    'history/.._.._evil'
    >>> cluster_folder(Path("history"), "..").as_posix()
    'history/_'
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", fingerprint)
    return folder / ("_" if name.strip(".") == "" else name)
