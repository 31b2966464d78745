"""`--collective` and `--overlap`: the embedded engine's own forms, in the words of our errors.

The defaults are read without the engine: every pytest of the environment reads the options.
"""

from __future__ import annotations

from pytest_dllama.config.values import ConfigError

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
    from dllama_engine.errors import PlanError
    from dllama_engine.sharding.asked import CollectiveOption

    try:
        return str(CollectiveOption.parse(text.strip()))
    except PlanError as error:
        raise ConfigError(f"--{error}") from None


def overlap(text: str) -> str:
    """`off`, `on`, `on@TOKENS` or `auto`.

    Raises:
        ConfigError: none of that; with what to write.
    """
    if text == OFF:
        return text
    from dllama_engine.errors import PlanError
    from dllama_engine.sharding.asked import OverlapOption

    try:
        return str(OverlapOption.parse(text.strip()))
    except PlanError as error:
        raise ConfigError(f"--{error}") from None
