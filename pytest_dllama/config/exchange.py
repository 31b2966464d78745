"""`--collective` and `--overlap`: the embedded engine's own forms, in the words of our errors.

The defaults are read without the engine: every pytest of the environment reads the options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.config.values import ConfigError

if TYPE_CHECKING:
    from dllama_engine.sharding.asked import CollectiveOption, OverlapOption

COLLECTIVE_FORM = "NAME[,NAME@TOKENS..]"
OVERLAP_FORM = "off|on|on@TOKENS|auto"
MESH, OFF = "mesh", "off"  # the defaults


def collective(text: str) -> str:
    """Names, with the tokens of a batch from which on each serves, or `auto`.

    >>> collective("mesh+star@13")
    'mesh,star@13'

    Raises:
        ConfigError: none of that; with what to write.
    """
    if text == MESH:
        return text
    from dllama_engine.sharding.asked import CollectiveOption

    return _read(CollectiveOption, text)


def overlap(text: str) -> str:
    """`off`, `on`, `on@TOKENS` or `auto`.

    Raises:
        ConfigError: none of that; with what to write.
    """
    if text == OFF:
        return text
    from dllama_engine.sharding.asked import OverlapOption

    return _read(OverlapOption, text)


def _read(option: type[CollectiveOption | OverlapOption], text: str) -> str:
    from dllama_engine.errors import PlanError

    try:
        return str(option.parse(text.strip()))
    except PlanError as error:
        raise ConfigError(f"--{error}") from None
