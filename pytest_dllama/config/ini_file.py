"""The ini file that pytest would read in a folder, for commands that are not pytest."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text

# In pytest's order; of the first kind a file counts whatever it holds, else only with its table.
_WHOLE = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
_SECTIONS = {"tox.ini": "pytest", "setup.cfg": "tool:pytest"}
_NAMES = (*_WHOLE, "pyproject.toml", *_SECTIONS)


def ini_file(folder: Path) -> Path | None:
    """The file whose keys count in a folder: its own, else that of the nearest folder above."""
    for parent in (folder, *folder.parents):
        for name in _NAMES:
            if (path := parent / name).is_file() and _keys(path) is not None:
                return path
    return None


def ini_value(path: Path, key: str) -> str | None:
    """A key's text; None where the file does not set it, or sets no text."""
    value = (_keys(path) or {}).get(key)
    return value if isinstance(value, str) else None


def _keys(path: Path) -> Mapping[str, Any] | None:
    """What the file says to pytest; None: nothing. One that cannot be read says nothing."""
    try:
        text = read_text(path, SETTINGS_BYTES)
        found = _of_toml(text) if path.suffix == ".toml" else _of_ini(text, path.name)
    except (OSError, ValueError, configparser.Error):
        found = None
    return {} if found is None and path.name in _WHOLE else found


def _of_toml(text: str) -> Mapping[str, Any] | None:
    data = tomllib.loads(text)
    table = data.get("tool", {}).get("pytest") if "tool" in data else data.get("pytest")
    if not isinstance(table, dict):
        return None
    options = table.get("ini_options", table)
    return options if isinstance(options, dict) else None


def _of_ini(text: str, name: str) -> Mapping[str, Any] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    section = _SECTIONS.get(name, "pytest")
    return dict(parser[section]) if parser.has_section(section) else None
