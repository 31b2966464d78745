"""What the options of sweeps may say: sizes, depths, and options of the engine by name."""

from __future__ import annotations

import re
from collections.abc import Callable

from pytest_dllama.config.values import ConfigError, whole

SEPARATOR = ";"  # between the sweeps of one text, as an ini key has them; a new line does too
LARGEST = 1 << 24  # far above any context; keeps a typing error from being taken for a size
_NAME = re.compile(r"[a-z][a-z0-9-]*")
# What stands in a cell's id, and so in names of logs and tests.
_VALUE = re.compile(r"[A-Za-z0-9.+@:_-]+")
# Options of the lab that are no engine's, and those that have a sweep of their own.
_OWN_FLAG = ("nodes", "models", "prompt-tokens", "output-tokens", "context-depth")


def parse_sizes(option: str, smallest: int = 1) -> Callable[[str], tuple[int, ...]]:
    """A parser of `16,512`; an empty text gives none.

    Raises:
        ConfigError: by the parser: no whole number, one out of range, or one that stands twice.
    """

    def parse(text: str) -> tuple[int, ...]:
        if not text.strip():
            return ()
        sizes = tuple(_size(part, text, option, smallest) for part in text.split(","))
        for size in sizes:
            if sizes.count(size) > 1:
                raise ConfigError(f"{option} {text}: {size} stands twice; name each size once")
        return sizes

    return parse


def parse_depths(option: str) -> Callable[[str], tuple[int, ...]]:
    """A parser of depths, of which 0 is one."""
    return parse_sizes(option, 0)


def _size(part: str, text: str, option: str, smallest: int) -> int:
    size = whole(part, text, option)
    if not smallest <= size <= LARGEST:
        raise ConfigError(
            f"{option} {text}: {size} is out of range; give numbers from {smallest} to {LARGEST}"
        )
    return size


def parse_sweep(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`nthreads=1,2`, and more of them behind a `;`, a new line or a comma.

    >>> parse_sweep("nthreads=1,2; kv-type=f32,f16")
    (('nthreads', ('1', '2')), ('kv-type', ('f32', 'f16')))

    Raises:
        ConfigError: another form, or an option that is swept twice.
    """
    sweeps: dict[str, tuple[str, ...]] = {}
    for part in _parts(text):
        name, equals, values = part.partition("=")
        name = name.strip().removeprefix("--").removeprefix("dllama-")
        found = tuple(value.strip() for value in values.split(","))
        _check(part, name, equals, found)
        if name in sweeps:
            raise ConfigError(f"--sweep {part}: {name} is swept twice; give all values in one")
        sweeps[name] = found
    return tuple(sweeps.items())


def _parts(text: str) -> list[str]:
    """One `NAME=V,V` each; a list of them in a TOML table comes joined by commas.

    >>> _parts("nthreads=1,2,kv-type=f16")
    ['nthreads=1,2', 'kv-type=f16']
    """
    parts: list[str] = []
    for line in re.split(r"[;\n]", text):
        words = [word.strip() for word in line.split(",")]
        start = len(parts)
        for word in words:
            if "=" in word or len(parts) == start:
                parts.append(word)
            else:
                parts[-1] += f",{word}"
    return [part for part in parts if part]


def _check(part: str, name: str, equals: str, values: tuple[str, ...]) -> None:
    if not equals or not _NAME.fullmatch(name):
        raise ConfigError(
            f"--sweep {part!r} names no option with values; write NAME=V,V, as in nthreads=1,2"
        )
    if name in _OWN_FLAG:
        raise ConfigError(f"--sweep {part}: write --{name} {','.join(values)}")
    for value in values:
        if not _VALUE.fullmatch(value):
            raise ConfigError(
                f"--sweep {part}: {value!r} cannot stand in a cell's name; values are of letters, "
                "digits and . + : _ -"
            )
        if values.count(value) > 1:
            raise ConfigError(f"--sweep {part}: {value} stands twice; name each value once")
