"""The version of the installed package."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def package_version() -> str:
    """The installed version, `unknown` when the code runs from a bare folder."""
    try:
        return metadata.version("pytest-dllama")
    except metadata.PackageNotFoundError:
        return "unknown"
