"""Which versions are installed, of this package and of others.

`importlib.metadata` alone would take a fifth of a worker's start.
"""

from __future__ import annotations

import os
import sys
from functools import cache


def package_version() -> str:
    """The installed version, `unknown` when the code runs from a bare folder."""
    return installed_version("pytest-dllama") or "unknown"


@cache
def installed_version(name: str) -> str | None:
    """The version, None if the package is not installed.

    Args:
        name: as the index of packages has it, e.g. pytest-dllama.
    """
    prefix, suffix = name.replace("-", "_").lower() + "-", ".dist-info"
    for folder in sys.path:
        try:
            found = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in found:
            if entry.lower().startswith(prefix) and entry.endswith(suffix):
                return entry[len(prefix) : -len(suffix)]
    from importlib import metadata  # installed in another form

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
