"""Faults by a seed: what happens, on which link or to which rank, and at which unit."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.engine.chaos.units import HELLO, PROOF, TEXT

TIMEOUT_S = 2.0
LINKS = ((0, 1), (0, 2), (2, 1))  # who dials, who listens
Link = tuple[int, int]  # from, to

OF_RANKS = ("kill", "stop")
OF_BYTES = ("garbage", "truncated", "oversized", "duplicated")
OF_TIME = ("delayed", "late", "trickled")
KINDS = (*OF_RANKS, "cut", "reset", *OF_BYTES, *OF_TIME)
HARMLESS = ("delayed", "trickled")  # nothing is lost and no deadline passes
_HUGE = 0xFFFFFFF0


@dataclass(frozen=True, slots=True)
class Plan:
    """`kind` at the `number`-th `unit` from one rank to another; `victim` of those of ranks."""

    kind: str
    link: Link
    unit: str
    number: int
    seed: int
    victim: int | None = None

    def __str__(self) -> str:
        at = f"{self.unit}[{self.number}] of {self.link[0]} to {self.link[1]}"
        return f"{self.kind} rank {self.victim} at {at}" if self.kind in OF_RANKS else (
            f"{self.kind} {at}"
        )  # fmt: skip

    @property
    def cuts(self) -> bool:
        """Whether nothing is carried from then on, and nobody told."""
        return self.kind == "cut"

    @property
    def resets(self) -> bool:
        return self.kind == "reset"

    @property
    def culprits(self) -> tuple[int, ...]:
        """Ranks that the root may name: the victim, or an end of the link that is not itself."""
        if self.victim is not None:
            return (self.victim,)
        return tuple(rank for rank in self.link if rank != 0)

    @property
    def phase(self) -> str:
        if self.unit in (HELLO, PROOF, TEXT):
            return "handshake"
        phases = {"SESSION": "set-up", "LOAD": "loading", "PROBE": "set-up"}
        return phases.get(self.unit, "forward")

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What comes of a unit; time passes between two pieces, too."""
        rng = random.Random(self.seed)
        match self.kind:
            case "garbage":
                n = min(len(data), rng.randint(8, 64))
                yield rng.randbytes(n) + data[n:]
            case "truncated":
                yield data[: rng.randrange(1, len(data))]
            case "oversized":
                yield struct.pack("<I", _HUGE) + data[4:]
            case "duplicated":
                yield data[: rng.randint(1, len(data))] + data
            case "delayed":
                time.sleep(TIMEOUT_S / 4)
                yield data
            case "late":
                time.sleep(2 * TIMEOUT_S)
                yield data
            case "trickled":
                head, tail = data[:100], data[100:]
                for at in range(len(head)):
                    yield head[at : at + 1]
                    time.sleep(0.001)
                yield tail
            case _:  # it befalls a rank
                yield data


def plans(
    seed: int, counts: Mapping[tuple[Link, str], int], kinds: tuple[str, ...] = KINDS
) -> Iterator[Plan]:
    """Faults without end: every kind in turn, at a unit of any name alike.

    Args:
        seed: of the whole row.
        counts: how often each unit crosses each link in a session without faults.
        kinds: those to be drawn.
    """
    rng = random.Random(seed)
    places = sorted(key for key in counts if key[1] not in ("HEARTBEAT", "ERROR"))
    names = sorted({name for _, name in places})
    while True:
        for kind in rng.sample(kinds, len(kinds)):
            fitting = [n for n in names if kind != "oversized" or n not in (HELLO, PROOF)]
            unit = rng.choice(fitting)
            link, _ = place = rng.choice([place for place in places if place[1] == unit])
            number = rng.randrange(counts[place])
            victim = rng.choice((0, 1, 2)) if kind in OF_RANKS else None
            yield Plan(kind, link, unit, number, rng.getrandbits(32), victim)
