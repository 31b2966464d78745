"""The engine's own program, as this machine runs it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_dllama.files.user_files import cache_folder

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


def own_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """What our own engine is started with: nothing held back, and its byte code kept.

    Where Python may write none, every start compiles all modules, and what it compiles lies so
    scattered that the steps between two tokens take a third longer than with code that was read
    from a file. An installed baseline has such files, so the checkout under test needs them too;
    they go to our cache where the user wants none beside the sources.
    """
    found = {**environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found.setdefault("PYTHONPYCACHEPREFIX", str(cache_folder() / "bytecode"))
    return found
