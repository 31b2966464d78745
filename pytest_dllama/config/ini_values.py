"""What an ini key holds, as the text that a flag would have.

pytest 9's native TOML tables (`[tool.pytest]`, `pytest.toml`) keep numbers, switches and lists as
they are, and `getini` refuses them for a key of text; other ini files give text, or lists of it.
"""

from __future__ import annotations

import shlex
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dllama.config.values import ConfigError
from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text

if TYPE_CHECKING:
    import pytest

WORD_KEYS = ("dllama_dllama_args",)  # their lists are words of a command line


def ini_text(config: pytest.Config, key: str) -> str:
    """The key's value as text, empty where it is not set.

    Raises:
        ConfigError: a table, a date or another value that no option takes.
    """
    value = _native_value(config, key)
    if value is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a list where text is declared: taken below
            value = config.getini(key)
    return "" if value is None else _as_text(value, key, config.inipath)


def _native_value(config: pytest.Config, key: str) -> Any:
    """The value in a native table, unless `-o` overrides it there."""
    path = config.inipath
    overrides = config.getoption("override_ini", default=None) or ()
    if path is None or path.suffix != ".toml" or any(o.startswith(f"{key}=") for o in overrides):
        return None
    return _native_table(path).get(key)


def _native_table(path: Path) -> Mapping[str, Any]:
    """`[tool.pytest]` of a pyproject.toml, `[pytest]` of a pytest.toml.

    `[tool.pytest.ini_options]` is none of them: its values come as text.
    """
    data: Any = tomllib.loads(read_text(path, SETTINGS_BYTES))
    table = data.get("tool", {}).get("pytest", {}) if "tool" in data else data.get("pytest", {})
    return table if isinstance(table, Mapping) else {}


def _as_text(value: Any, key: str, path: Path | None) -> str:
    """As one would write it behind the flag: `16`, `true`, `2,4`.

    >>> _as_text([2, 4], "dllama_nodes", None), _as_text(True, "dllama_keep_workers", None)
    ('2,4', 'true')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        texts = [_as_text(item, key, path) for item in value]
        return shlex.join(texts) if key in WORD_KEYS else ",".join(texts)
    raise ConfigError(
        f"{path}: {key}: {value!r} cannot be read; write a text, a number, true or false, or a "
        "list of them"
    )
