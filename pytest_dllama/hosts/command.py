"""The engine's own program, as this machine runs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "dllama-py"


def own_command(command: Sequence[str], environment: Path | None = None) -> list[str]:
    """Our own engine runs in this interpreter, whatever PATH and the working folder hold.

    Or as the program of another environment: a revision may have other modules, the program stays.
    That interpreter is isolated, or a PYTHONPATH that names our engine would win over its own.
    """
    if command[0] != PROGRAM:
        return list(command)
    if environment is not None:
        bin_folder = environment / "bin"
        return [str(bin_folder / "python"), "-I", "-u", str(bin_folder / PROGRAM), *command[1:]]
    return [sys.executable, "-P", "-m", "dllama_engine.cli", *command[1:]]
