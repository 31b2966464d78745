"""Which dllama a program is, found out by dry calls of it and by what its file holds.

No version of dllama prints its version, and `worker --help` starts a worker in most of them. But
all of them read their flags before anything else, as pairs, and name the first that they do not
know: so a call that ends with a flag that none knows opens no file and no socket, and answers
within milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pytest_dllama.backends.dllama.versions import FLAGS, OTHER, UNKNOWN, Engine, Family, Version

Ask = Callable[[Sequence[str]], str]  # arguments -> all that the program prints
DRY = "--dry-probe"  # a flag that no dllama knows
_NO_FILE = "/nonexistent"

# What a program file of a version holds: formats of its prints, as bytes, and since when.
_MARKS: tuple[tuple[bytes, Version], ...] = (
    (b"Eval%5u ms Sync%5u ms", (0, 12, 8)),
    (b"KvDim: %u", (0, 13, 0)),
    (b"--net-turbo", (0, 13, 6)),
    (b"attempting stream recover", (0, 13, 9)),
    (b"Cannot resolve target", (0, 13, 10)),
    (b"AddBos: %d", (0, 14, 0)),
    (b"perplexity: %f", (0, 15, 0)),
    (b"Number of threads must be at least 1", (0, 15, 3)),
    (b"RequiredMemory: %lu MB", (0, 15, 4)),
    (b"Qwen3 MoE", (0, 16, 0)),
    (b"Loaded %u/%u", (0, 16, 1)),
    (b"Execution error: %s", (0, 16, 3)),
    (b"--host", (0, 16, 4)),
)
_EVERY_VERSIONS = b"--buffer-float-type"  # a flag
_FORK_MARK = b"Network Performance Report"

# Each shape of the answer to an unknown flag, and whose it is.
_ANSWERS: tuple[tuple[re.Pattern[str], Family], ...] = (
    (re.compile(r"Critical error: Unknown option: (--[\w-]+)"), "current"),
    (re.compile(r"Unknown option '?(--[\w-]+)"), "old"),
)


def identify(ask: Ask, more: Mapping[str, str] | None = None, program: bytes = b"") -> Engine:
    """What a program is, from a few dry calls of it.

    Args:
        ask: runs the program once with arguments; returns what it printed, stdout and stderr.
        more: further flags that one wants to use, with their values.
        program: the program file's bytes, where they are at hand: they narrow the version.
    """
    left = {flag: value for flag, (value, _) in FLAGS.items()} | dict(more or {})
    asked = frozenset(left)
    family: Family = "unknown"
    for _ in range(len(asked) + 1):
        pairs = [word for pair in left.items() for word in pair]
        named, family = _unknown_flag(ask(["inference", *pairs, DRY, "1"]))
        if named == DRY:
            break
        if named not in left:
            is_compiled = program.startswith(b"\x7fELF")
            return OTHER if is_compiled and _EVERY_VERSIONS not in program else UNKNOWN
        del left[named]
    flags = frozenset(left)
    first, below = _range(family, flags, ask)
    marks = _marks(program) if family == "current" else None
    if marks is not None:
        first, below = max(first, marks[0]), _earlier(below, marks[1])
    is_fork = "--collective" in flags or (family == "current" and _FORK_MARK in program)
    return Engine(family, first, None if is_fork else below, is_fork, flags, asked)


def _unknown_flag(answer: str) -> tuple[str, Family]:
    for pattern, family in _ANSWERS:
        if found := pattern.search(answer):
            return found.group(1), family
    return "", "unknown"


def _range(family: Family, flags: frozenset[str], ask: Ask) -> tuple[Version, Version | None]:
    """By the flags that came and went; (first, first that it is not)."""
    if family == "old":
        if "--packet-alignment" in flags:
            return (0, 11, 0), (0, 12, 0)
        if "--kv-cache-storage" in flags:
            return (0, 10, 0), (0, 11, 0)
        if "--max-seq-len" in flags:
            return (0, 10, 2), (0, 12, 0)
        return ((0, 9, 2), (0, 10, 0)) if "--chat-template" in flags else ((0, 5, 0), (0, 9, 2))
    if "--host" in flags:
        return (0, 16, 4), None
    if "--net-turbo" in flags:
        return _by_perplexity(ask)
    if "--gpu-index" in flags:
        return (0, 13, 0), (0, 13, 6)
    return (0, 12, 0), (0, 13, 0)


def _by_perplexity(ask: Ask) -> tuple[Version, Version | None]:
    """A mode that came with v0.15.0; since v0.16.1 it names the model file that is not there."""
    answer = ask(["perplexity", "--model", _NO_FILE, "--tokenizer", _NO_FILE])
    if "Unsupported mode" in answer:
        return (0, 13, 6), (0, 15, 0)
    if f"({_NO_FILE})" in answer:
        return (0, 16, 1), (0, 16, 4)
    return ((0, 15, 0), (0, 16, 1)) if "Cannot open" in answer else ((0, 13, 6), (0, 16, 4))


def _marks(program: bytes) -> tuple[Version, Version | None] | None:
    """By what stands in a program file; None for a script or a packed file."""
    if b"Unknown option: " not in program:
        return None
    present = [mark in program for mark, _ in _MARKS]
    since = [version for (_, version), is_there in zip(_MARKS, present, strict=True) if is_there]
    missing = [v for (_, v), is_there in zip(_MARKS, present, strict=True) if not is_there]
    first = max(since, default=(0, 12, 0))
    later = [version for version in missing if version > first]
    return first, min(later, default=None)


def _earlier(a: Version | None, b: Version | None) -> Version | None:
    if a is None or b is None:
        return a or b
    return min(a, b)
