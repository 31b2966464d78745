"""Standard streams as a command finds them: closed, full, of another encoding."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_UNKNOWN = re.compile(
    r"invalid choice: '(?P<choice>[^']*)' \(choose from (?P<choices>.*)\)"
    r"|unrecognized arguments: (?P<flag>-[^ =]+)"
)
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
    """Help that cannot be written is an error, where argparse passes over it; slips get a hint."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, with the nearest right spelling."""
        super().error(message + self._hint(message))

    def _hint(self, message: str) -> str:
        """The nearest command, choice or flag.

        >>> parser = Parser()
        >>> parser._hint("argument WHAT: invalid choice: 'acept' (choose from 'accept', 'show')")
        "; did you mean 'accept'?"
        >>> parser._hint("unrecognized arguments: --hlep")
        "; did you mean '--help'?"
        """
        wrong = _UNKNOWN.search(message)
        if wrong is None:
            return ""
        known = re.findall(r"[^', ]+", wrong["choices"] or "") or list(self._flags())
        near = difflib.get_close_matches(wrong["choice"] or wrong["flag"], known, 1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def _flags(self) -> Iterator[str]:
        """Of this parser, and of its commands: of theirs the whole command line complains."""
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    if isinstance(command, Parser):
                        yield from command._flags()

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        stream = file or sys.stderr
        try:
            stream.write(message)
        except OSError:
            if stream is not sys.stderr:
                raise
