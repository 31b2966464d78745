"""CPU affinity: which cores a rank's threads are pinned to, where ranks fill all of a host's.

Ranks wait for each other 44 times a token (22 layers). If the system has put five of eight ranks on
one of two cores, the other core idles at each of these times, and the system takes no notice: a
rank sleeps and wakes too often for its balancing. So each rank takes its place in turn. Two ranks
on two cores likewise: who sends a frame wakes its receiver on its own core if the other one is busy
for a moment, and there both stay for seconds; which of the two it is makes sessions differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dllama_engine.system.scheduling import kept_on
from dllama_engine.wire.connecting.handshake import WorkerInfo


@dataclass(frozen=True, slots=True)
class CoreSlots:
    """A rank's threads among those of all ranks of its host.

    Attributes:
        first: how many threads the ranks before it have.
        own: its own.
        all: those of all ranks together.
        keeps: whether it stays on its cores, too, where there is one for each thread.
    """

    first: int
    own: int
    all: int
    keeps: bool = True

    def cores(self, available: Sequence[int]) -> list[int] | None:
        """The rank's cores out of the available ones; None where the system places it better.

        That is where there are cores to spare, or where the threads cannot be dealt out evenly.

        >>> [CoreSlots(first, 1, 4).cores([0, 1]) for first in range(4)]
        [[0], [1], [0], [1]]
        >>> CoreSlots(2, 2, 8).cores([0, 1, 2, 3]), CoreSlots(1, 1, 2).cores([0, 1])
        ([2, 3], [1])
        >>> CoreSlots(0, 1, 2).cores([0, 1, 2]), CoreSlots(0, 1, 2, keeps=False).cores([0, 1])
        (None, None)
        >>> CoreSlots(0, 1, 3).cores([0, 1]), CoreSlots(0, 2, 4).cores([0, 1])
        (None, None)
        """
        n = len(available)
        has_room = self.all < n or (self.all == n and not self.keeps)
        if has_room or self.own >= n or self.all % n:
            return None
        return sorted({available[(self.first + i) % n] for i in range(self.own)})


def ranks_apart(slots: CoreSlots, available: Sequence[int]) -> int:
    """How many ranks on the next one is on the same cores, as they take them in turn.

    0 where the threads of a host's ranks do not outnumber the available cores; as many as there are
    where the system places them.

    >>> ranks_apart(CoreSlots(0, 1, 8), [0, 1]), ranks_apart(CoreSlots(0, 2, 8), [0, 1, 2, 3])
    (2, 2)
    >>> ranks_apart(CoreSlots(0, 1, 2), [0, 1]), ranks_apart(CoreSlots(0, 1, 3), [0, 1])
    (0, 3)
    """
    n = len(available)
    if slots.all <= n:
        return 0
    return slots.all if slots.cores(available) is None else n // slots.own


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use; as many as there are where none has one."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def slots_by_rank(infos: Mapping[int, WorkerInfo], *, keeps: bool = True) -> dict[int, CoreSlots]:
    """Every rank's place among the ranks of its host, in rank order; `keeps` is for all of them."""
    threads: dict[str, int] = {}
    first = {}
    for rank, info in sorted(infos.items()):
        first[rank] = threads.get(info.boot_id, 0)
        threads[info.boot_id] = first[rank] + info.n_threads
    return {
        rank: CoreSlots(first[rank], info.n_threads, threads[info.boot_id], keeps)
        for rank, info in infos.items()
    }


@contextmanager
def pinned(slots: CoreSlots, say: Callable[[str], None]) -> Iterator[None]:
    """Keep the calling thread, and those that it starts inside, on the cores that are theirs.

    Args:
        slots: the rank's.
        say: takes a line about it, if there is anything to tell.
    """
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    cores = slots.cores(available)
    if cores is None:
        yield
        return
    say(cores_line(cores, available, slots))
    with kept_on(cores):
        yield


def cores_line(cores: Sequence[int], available: Sequence[int], slots: CoreSlots) -> str:
    """On which of a host's cores a rank stays, in a line of our own: dllama knows no such thing."""
    own, of = ",".join(map(str, cores)), ",".join(map(str, available))
    return f"📌 Cores: {own} of {of}, which {slots.all} threads of this host's nodes share"
