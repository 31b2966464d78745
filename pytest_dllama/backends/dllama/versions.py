"""Versions, flags and faults of the real dllama as data, and the `Engine` that they tell.

Sources: b4rtaz/distributed-llama, tags v0.5.2 to v0.16.4 (src/main.cpp, src/apps/dllama/dllama.cpp,
src/app.cpp), and inpyu/distributed-llama; each was built and asked (`identify`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Version = tuple[int, int, int]
# "old": one line a forward pass, a worker serves one root and aborts; "current": prefill in
# batches, a worker serves one root after the other; "other": a program that is no dllama.
Family = Literal["old", "current", "unknown", "other"]

OLDEST_DRIVEN: Version = (0, 12, 0)

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


def flag_pairs(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments as dllama reads them: name and value in turns; the last wins.

    >>> flag_pairs(["--net-turbo", "0", "--collective", "star"])
    {'--net-turbo': '0', '--collective': 'star'}
    """
    return dict(zip(arguments[::2], arguments[1::2], strict=False))
