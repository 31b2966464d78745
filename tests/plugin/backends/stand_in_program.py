"""The stand-in for dllama as a program that can be started by its path."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.plugin.backends import dllama_stand_in

TEXT = """\
#!{python}
import os, runpy
os.environ.update({variables!r})
runpy.run_path({source!r}, run_name='__main__')
"""


def text(version: str | None = None) -> str:
    """Of the program; with a version it plays that one (`dllama_stand_in.VERSIONS`)."""
    variables = {"STAND_IN_VERSION": version} if version else {}
    source = str(Path(dllama_stand_in.__file__).resolve())
    return TEXT.format(python=sys.executable, variables=variables, source=source)


def write_program(path: Path, version: str | None = None) -> Path:
    """Write it to `path`, so that it can be run; returns the path."""
    path.write_text(text(version), encoding="utf-8")
    path.chmod(0o755)
    return path
