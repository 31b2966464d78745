"""Which dllama a program is: versions, flags and faults as data, and the dry calls that tell them.

No version of dllama prints its version, and `worker --help` starts a worker in most of them. But
all of them read their flags before anything else, as pairs, and name the first that they do not
know: so a call that ends with a flag that none knows opens no file and no socket, and answers
within milliseconds. Sources: b4rtaz/distributed-llama, tags v0.5.2 to v0.16.4 (src/main.cpp,
src/apps/dllama/dllama.cpp, src/app.cpp), and inpyu/distributed-llama; each was built and asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Version = tuple[int, int, int]
Ask = Callable[[Sequence[str]], str]  # arguments -> all that the program prints
# "old": one line a forward pass, a worker serves one root and aborts; "current": prefill in
# batches, a worker serves one root after the other; "other": a program that is no dllama.
Family = Literal["old", "current", "unknown", "other"]

OLDEST_DRIVEN: Version = (0, 12, 0)
DRY = "--dry-probe"  # a flag that no dllama knows
_NO_FILE = "/nonexistent"

# flag -> (a value that every version that knows the flag takes, since when)
FLAGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "--host": ("127.0.0.1", "v0.16.4"),
        "--net-turbo": ("1", "v0.13.6"),
        "--gpu-segments": ("0:0", "v0.13.6"),
        "--gpu-index": ("0", "v0.13.0"),
        "--max-seq-len": ("64", "v0.10.2"),
        "--chat-template": ("llama2", "v0.9.2"),
        "--collective": ("auto", "the fork, 2026"),
        "--pp-size": ("1", "the fork, 2026"),
        "--prefill-chunk-size": ("32", "the fork, 2026"),
        "--weights-float-type": ("q40", "before v0.12.0 only"),
        "--packet-alignment": ("1", "v0.11 only"),
        "--kv-cache-storage": ("ram", "v0.10 only"),
    }
)

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


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that versions do wrong or otherwise than a user would expect."""

    name: str
    first: Version
    below: Version | None  # the first version without it; None: none yet
    in_fork: bool  # whether the fork with --collective has it
    text: str
    source: str


LAST_PLACE = "last_place_aborts"
ADD_BOS_UNSET = "add_bos_unset"
FAULTS: tuple[Fault, ...] = (
    Fault(
        "binds_all",
        (0, 5, 0),
        (0, 16, 4),
        True,
        "its workers listen on all addresses of their machines (0.0.0.0): it has no --host",
        "src/nn/nn-network.cpp, createServerSocket; --host since v0.16.4",
    ),
    Fault(
        "stale_first_token",
        (0, 12, 0),
        None,
        False,
        "its first token may be decoded from a stale token: where the prompt's last merge was at "
        "its end, or none took place",
        "src/dllama.cpp: inputTokens[pos + 1] after pos has reached the last token",
    ),
    Fault(
        ADD_BOS_UNSET,
        (0, 14, 0),
        None,
        True,
        "of a tokenizer file without the key add_bos it reads an unset byte: a prompt begins with "
        "the begin token or not, by chance",
        "src/tokenizer.hpp: bool addBos",
    ),
    Fault(
        LAST_PLACE,
        (0, 13, 0),
        (0, 13, 7),
        False,
        "it aborts at the last place of the context: it is given a context of one place more",
        "src/nn/nn-cpu-ops.cpp, shiftForward_F32_F32: an assertion with < where <= is right",
    ),
    Fault(
        "one_run_a_worker",
        (0, 5, 0),
        (0, 12, 0),
        False,
        "a worker serves one root and then aborts",
        "src/socket.cpp: ReadSocketException is caught by nobody",
    ),
    Fault(
        "rms_unset",
        (0, 5, 0),
        (0, 10, 6),
        False,
        "on x86 its greedy output differs from run to run: a register is summed into unset",
        "src/funcs.cpp, rms: __m256 a, u; mended by dllama#137",
    ),
    Fault(
        "ring_wrong",
        (99, 0, 0),
        None,
        True,
        "on 4 nodes and more --collective auto takes the ring, which gives wrong text; on 4 "
        "and 8 nodes it also hangs at times: use --collective star",
        "the fork's src/nn/nn-network.cpp; text of 4 and 8 nodes beside that of one",
    ),
)


@dataclass(frozen=True, slots=True)
class Engine:
    """What a dllama program is and knows.

    Attributes:
        family: how it prints and how its workers live.
        first: the oldest version that it may be; None where nothing tells.
        below: the first version that it is not any more; None: it may be the newest.
        is_fork: it is the fork with network monitor or collectives.
        flags: those of FLAGS, and those asked for besides, that it knows.
        asked: every flag that it was asked for.
    """

    family: Family
    first: Version | None = None
    below: Version | None = None
    is_fork: bool = False
    flags: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()

    def lacks(self, flag: str) -> bool:
        """Whether it was asked and does not know the flag."""
        return flag in self.asked and flag not in self.flags

    @property
    def version(self) -> str:
        """The versions that it may be, in words.

        >>> Engine("current", (0, 13, 6), (0, 15, 0)).version
        'v0.13.6 or later, before v0.15.0'
        """
        if self.first is None:
            return "an unknown version"
        first = shown(self.first)
        if self.is_fork:
            return f"the fork, based on {first} or later"
        if self.below:
            return f"{first} or later, before {shown(self.below)}"
        return f"{first} or later"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those that every version has that it may be."""
        return tuple(fault for fault in FAULTS if self._has(fault))

    def has_fault(self, name: str) -> bool:
        """Whether it has the fault of a name."""
        return any(fault.name == name for fault in self.faults)

    def may_have_fault(self, name: str) -> bool:
        """Whether some version that it may be has the fault of a name."""
        if self.first is None or self.is_fork:
            return False
        return any(
            fault.name == name
            and (fault.below is None or self.first < fault.below)
            and (self.below is None or self.below > fault.first)
            for fault in FAULTS
        )

    def _has(self, fault: Fault) -> bool:
        if self.first is None:
            return False
        if fault.name == "binds_all":
            return "--host" not in self.flags
        if "--collective" in self.flags:
            return fault.in_fork
        ends_before = self.below or (98, 0, 0)
        return self.first >= fault.first and (fault.below is None or ends_before <= fault.below)


UNKNOWN = Engine("unknown")
OTHER = Engine("other")


def shown(version: Version) -> str:
    """A version as its tag is written."""
    return "v" + ".".join(map(str, version))


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


def flag_pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments as dllama reads them: name and value in turns; the last wins.

    >>> flag_pairs(["--net-turbo", "0", "--collective", "star"])
    {'--net-turbo': '0', '--collective': 'star'}
    """
    return dict(zip(arguments[::2], arguments[1::2], strict=False))


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
