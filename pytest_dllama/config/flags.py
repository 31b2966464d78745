"""How the options are spelled: `--dllama-NAME` always, `--NAME` where nobody else declared it.

Short spellings are never declared, for a conftest that is loaded late may declare the same one,
and pytest would end there. They are translated instead, once every plugin and every conftest that
can still read the command line has declared its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dllama.config.options import SETTINGS
from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text

if TYPE_CHECKING:
    import pytest

FILE_PREFIX = "@"  # pytest reads more arguments from such a file, one a line


def add_options(parser: pytest.Parser) -> None:
    """Declare every flag in its long spelling, and every ini key."""
    group = parser.getgroup(
        "dllama",
        "performance of distributed LLM inference (pytest-dllama); the spellings without dllama- "
        "work wherever no other plugin or conftest has them",
    )
    for setting in SETTINGS:
        short = f"{setting.flag}={setting.form}".removesuffix("=")
        also = "" if setting.flag == setting.long_flag else f"; also {short}"
        text = f"{setting.help} (default: {setting.default or 'none'}{also})".replace("%", "%%")
        attributes: dict[str, Any] = {"dest": setting.key, "default": None}
        if setting.metavar:
            attributes["metavar"] = setting.metavar
        else:
            attributes |= {"action": "store_const", "const": "yes"}
        if setting.is_repeatable:
            attributes["action"] = "append"
        if setting.bare:
            attributes |= {"nargs": "?", "const": setting.bare}
        group.addoption(setting.long_flag, **attributes, help=text)
        parser.addini(setting.key, f"default of {setting.long_flag}", default=None)


def shield_values(config: pytest.Config, parser: pytest.Parser, args: Sequence[str]) -> None:
    """Before conftests are looked for: values of short spellings are no paths of tests.

    `--report out` must not make pytest load `out/conftest.py`.
    """
    known: Any = config.known_args_namespace
    translated = translate(args, taken_flags(parser))
    if translated != list(args):
        options = parser.parse_known_args(translated, namespace=copy.copy(config.option))
        known.file_or_dir = options.file_or_dir


def translate(args: Iterable[str], taken: Iterable[str]) -> list[str]:
    """The command line with our short spellings made long, except those that others have.

    >>> translate(["suites", "--nodes", "2", "--seed=3", "--", "--nodes"], {"--seed"})
    ['suites', '--dllama-nodes', '2', '--seed=3', '--', '--nodes']
    """
    mine = {s.flag: s.long_flag for s in SETTINGS if s.flag not in set(taken)}
    words = [str(word) for word in args]
    end = words.index("--") if "--" in words else len(words)
    return [part for word in words[:end] for part in _translated(word, mine)] + words[end:]


def _translated(word: str, mine: dict[str, str]) -> list[str]:
    if word.startswith(FILE_PREFIX):
        return _of_file(word, mine)
    flag, equals, value = word.partition("=")
    return [mine[flag] + equals + value] if flag in mine else [word]


def _of_file(word: str, mine: dict[str, str]) -> list[str]:
    """The lines of a file of arguments, if any of them is ours; else the file as it is."""
    try:
        lines = read_text(Path(word.removeprefix(FILE_PREFIX)), SETTINGS_BYTES).splitlines()
    except (OSError, UnicodeDecodeError):
        return [word]  # pytest's to complain about
    if not any(line.partition("=")[0] in mine for line in lines):
        return [word]
    return [part for line in lines for part in _translated(line, mine)]


def lent_flags(args: Iterable[str], parser: pytest.Parser) -> list[tuple[str, str]]:
    """Spellings on the command line that would be ours, had nobody else declared them.

    Each with the long one, which the user may have meant.
    """
    taken = taken_flags(parser)
    given = {str(word).partition("=")[0] for word in args}
    return [
        (setting.flag, setting.long_flag)
        for setting in SETTINGS
        if setting.flag in given & taken and setting.flag != setting.long_flag
    ]


def taken_flags(parser: Any) -> set[str]:
    """Flags that are declared, but ours; pytest has no public way to ask."""
    ours = {setting.long_flag for setting in SETTINGS}
    groups = [parser._anonymous, *parser._groups]
    return {name for group in groups for option in group.options for name in option.names()} - ours
