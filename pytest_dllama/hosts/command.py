"""The engine's own program, as this machine runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

PROGRAM = "dllama-py"


def own_command(command: Sequence[str]) -> list[str]:
    """Our own engine runs in this interpreter, whatever PATH and the working folder hold."""
    if command[0] == PROGRAM:
        return [sys.executable, "-P", "-m", "dllama_engine.cli", *command[1:]]
    return list(command)
