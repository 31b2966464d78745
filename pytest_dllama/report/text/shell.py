"""Command lines as people type them: shell-quoted, one option a line, wrapped with backslashes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_VALUES_PER_LINE = 4  # as many workers as fit a line of the hand-written reports
_MARGIN = "  "
_HANGING = " " * 10
LONGEST_WORD = 72  # of a path; a longer one would scroll the page sideways


def wrapped(argv: Sequence[str]) -> str:
    r"""`argv` as a command that can be pasted into a shell.

    >>> print(wrapped(["./dllama", "inference", "--prompt", "Hello world", "--steps", "128"]))
    ./dllama inference \
      --prompt 'Hello world' \
      --steps 128
    """
    lines: list[str] = []
    for group in _groups(argv):
        quoted = [shlex.quote(_shortened(word)) for word in group]
        option, values = quoted[0], quoted[1:]
        if not lines and not group[0].startswith("--"):  # program and its mode
            lines.append(" ".join(quoted))
            continue
        first = " ".join([option, *values[:_VALUES_PER_LINE]])
        lines.append((_MARGIN if lines else "") + first)
        for start in range(_VALUES_PER_LINE, len(values), _VALUES_PER_LINE):
            lines.append(_HANGING + " ".join(values[start : start + _VALUES_PER_LINE]))
    return " \\\n".join(lines)


def _shortened(word: str) -> str:
    """The end of a long path: where it lay on the machine that ran it says little elsewhere.

    >>> _shortened("/a" * 40 + "/model.m"), _shortened("/home/pi/model.m")
    ('.../model.m', '/home/pi/model.m')
    """
    if len(word) <= LONGEST_WORD or "/" not in word or any(map(str.isspace, word)):
        return word
    return f".../{word.rpartition('/')[2]}"


def option_values(argv: Sequence[str], option: str) -> tuple[str, ...]:
    """The words that follow `option`, up to the next option.

    >>> option_values(["x", "--workers", "a:1", "b:2", "--steps", "3"], "--workers")
    ('a:1', 'b:2')
    """
    for group in _groups(argv):
        if group[0] == option:
            return tuple(group[1:])
    return ()


def _groups(argv: Sequence[str]) -> list[list[str]]:
    """The words before the first option, then each option with its values."""
    groups: list[list[str]] = []
    for word in argv:
        if not groups or word.startswith("--"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups
