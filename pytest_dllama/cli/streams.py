"""Standard streams as a command finds them: closed, full, of another encoding."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_SHOWN = "pytest_dllama.shown"  # our handler of letters that cannot be encoded


def prepare_streams() -> None:
    """Let no stream that is closed, or of an encoding without our letters, end a command."""
    _open_closed()
    codecs.register_error(_SHOWN, _shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_SHOWN)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """A file name's bytes as they are; a letter that the encoding lacks as its escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _open_closed() -> None:
    """Put /dev/null where a stream is closed (`>&-`): no file of ours may take its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def say_error(text: str) -> None:
    """A line on standard error; where nothing can be written, the exit status must do."""
    with contextlib.suppress(OSError, ValueError):
        print(f"pytest-dllama: {text}", file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    """Help that cannot be written is an error, where argparse passes over it."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        stream = file or sys.stderr
        try:
            stream.write(message)
        except OSError:
            if stream is not sys.stderr:
                raise
