"""Injected slowdowns: `--inject SPEC` makes this engine slower on purpose, to test verdicts.

SPEC is a list of NAME=VALUE with commas between:

    tpot=10%          every decoded token after the first comes so much later than the last one did
    tpot=2ms          ... by a fixed time
    ttft=20ms         the first token comes so much later
    sampling=500us    choosing each token takes so much longer; also in %
    kernel=generic    a slower kind of kernels, as DLLAMA_KERNELS names them
    feed-forward=30%  one kind of work of every rank takes so much longer; also qkv, attention,
                      output-projection, exchange-copy, logits, and compute for all of them
    rank=3:compute=5% ... of one rank

Numbers and bytes stay what they are; only time is added.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dllama_engine.errors import RequestError
from dllama_engine.tables.spans import COMPUTE, KINDS, NAMES

if TYPE_CHECKING:
    from dllama_engine.arrays import Table

_UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}  # by length: "s" ends the others too
_LARGEST_SHARE = 100.0  # a hundred times slower: beyond that it is a slip of the pen
_LARGEST_S = 60.0
_AWAKE_NS = 1_000_000  # so long before the end the core is kept: sleep overshoots


@dataclass(frozen=True, slots=True)
class Delay:
    """Time that is added to something."""

    share: float = 0.0  # of what it took
    ns: int = 0

    def wait(self, start_ns: int) -> None:
        """Add this delay to what began at `start_ns` and ends now."""
        if not self.share and not self.ns:
            return
        now_ns = time.perf_counter_ns()
        _wait_until(now_ns + round(self.share * (now_ns - start_ns)) + self.ns)


@dataclass(frozen=True, slots=True)
class SlowWork:
    """A kind of work that takes longer, on one rank or on all."""

    name: str
    share: float
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """A parsed SPEC."""

    text: str = ""  # as written
    tpot: Delay = Delay()
    ttft: Delay = Delay()
    sampling: Delay = Delay()
    kernel: str = ""
    slow: tuple[SlowWork, ...] = ()

    def slow_work(self, rank: int) -> Table | None:
        """Per mille by which a rank's work takes longer, int64 (KINDS,); None: nothing does."""
        import numpy as np

        table = np.zeros(KINDS, np.int64)
        for work in self.slow:
            if work.rank in (None, rank):
                table[list(_WORK[work.name])] += round(1000 * work.share)
        return table if table.any() else None

    @property
    def delays_tokens(self) -> bool:
        """Whether something takes longer between two tokens."""
        return (self.tpot, self.ttft, self.sampling) != (Delay(), Delay(), Delay())

    def wait_for_token(self, index: int, since_ns: int) -> None:
        """The delay before decoded token `index` is in hand; the one before it was at `since_ns`.

        TPOT counts from the first token on: that one has its own delay.
        """
        (self.tpot if index else self.ttft).wait(since_ns)


NOTHING = Injection()
_WORK: Mapping[str, tuple[int, ...]] = {
    **{NAMES[kind]: (kind,) for kind in COMPUTE},
    "compute": COMPUTE,
}
_ROOTS = ("tpot", "ttft", "sampling")  # of the root alone
_NAMES = (*_ROOTS, "kernel", *_WORK)


def parse_injection(text: str) -> Injection:
    """Read a SPEC.

    >>> parse_injection("tpot=10%,ttft=20ms").ttft
    Delay(share=0.0, ns=20000000)

    Raises:
        RequestError: an unknown name, with the nearest right one, or a value that cannot be.
    """
    found = Injection(text)
    seen: set[str] = set()
    for item in (part.strip() for part in text.split(",")):
        what, is_given, value = (word.strip() for word in item.rpartition("="))
        rank, name = _rank_and_name(text, what if is_given else value)
        if name not in _NAMES:
            raise RequestError(f"--inject {text!r}: there is no {name!r}; {_nearest(name)}")
        if not is_given or not value:
            raise RequestError(f"--inject {text!r}: {name} needs a value, as in {name}=10%")
        if what in seen:
            raise RequestError(f"--inject {text!r}: {what} is given twice; add the values up")
        if rank is not None and name not in _WORK:
            raise RequestError(
                f"--inject {text!r}: {name} is not of one rank; write {item.partition(':')[2]}"
            )
        seen.add(what)
        found = _with(found, name, value, rank)
    return found


def _rank_and_name(text: str, what: str) -> tuple[int | None, str]:
    """`rank=3:feed-forward` or a name alone."""
    if what == "rank":  # rank=3, and nothing behind it
        what = "rank="
    if not what.startswith("rank="):
        return None, what
    number, colon, name = what.removeprefix("rank=").partition(":")
    if not colon or not number.isdecimal():
        raise RequestError(
            f"--inject {text!r}: write rank=N:NAME=VALUE, as in rank=3:feed-forward=30%"
        )
    return int(number), name


def _with(found: Injection, name: str, value: str, rank: int | None) -> Injection:
    match name:
        case "tpot":
            return replace(found, tpot=_delay(found.text, name, value))
        case "ttft":
            return replace(found, ttft=_delay(found.text, name, value))
        case "sampling":
            return replace(found, sampling=_delay(found.text, name, value))
        case "kernel":
            return replace(found, kernel=value)
    delay = _delay(found.text, name, value)
    if delay.ns:
        raise RequestError(f"--inject {found.text!r}: {name} takes a share, as in {name}=30%")
    return replace(found, slow=(*found.slow, SlowWork(name, delay.share, rank)))


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _NAMES, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_NAMES)}"


def _delay(text: str, name: str, value: str) -> Delay:
    if value.endswith("%"):
        share = _number(value[:-1]) / 100
        if name == "ttft":
            raise RequestError(f"--inject {text!r}: ttft takes a time, as in ttft=20ms")
        if 0 < share <= _LARGEST_SHARE:
            return Delay(share=share)
    for unit, unit_ns in _UNITS_NS.items():
        if value.endswith(unit):
            ns = _number(value.removesuffix(unit)) * unit_ns
            if 0 < ns <= _LARGEST_S * 1e9:
                return Delay(ns=round(ns))
            break
    share_too = "" if name == "ttft" else f", or a share up to {_LARGEST_SHARE * 100:.0f}%"
    raise RequestError(
        f"--inject {text!r}: {name}={value}: write a time above 0 and up to {_LARGEST_S:g}s "
        f"with its unit (us, ms, s){share_too}"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # fails every comparison of the callers


def _wait_until(at_ns: int) -> None:
    """Sleep, and stay awake for the end."""
    left_ns = at_ns - time.perf_counter_ns()
    if left_ns > _AWAKE_NS:
        time.sleep((left_ns - _AWAKE_NS) / 1e9)
    while time.perf_counter_ns() < at_ns:
        pass
