"""`--collective` and `--overlap`: the embedded engine's own forms, in the words of our errors."""

from __future__ import annotations

from dllama_engine.errors import PlanError
from dllama_engine.sharding.asked import (
    COLLECTIVE_FORM,
    OVERLAP_FORM,
    CollectiveOption,
    OverlapOption,
)
from pytest_dllama.config.values import ConfigError

__all__ = ["COLLECTIVE_FORM", "OVERLAP_FORM", "collective", "overlap"]


def collective(text: str) -> str:
    """Names, with the tokens of a batch from which on each serves, or `auto`.

    >>> collective("mesh+star@13")
    'mesh,star@13'

    Raises:
        ConfigError: none of that; with what to write.
    """
    try:
        return str(CollectiveOption.parse(text.strip()))
    except PlanError as error:
        raise ConfigError(f"--{error}") from None


def overlap(text: str) -> str:
    """`off`, `on`, `on@TOKENS` or `auto`.

    Raises:
        ConfigError: none of that; with what to write.
    """
    try:
        return str(OverlapOption.parse(text.strip()))
    except PlanError as error:
        raise ConfigError(f"--{error}") from None
