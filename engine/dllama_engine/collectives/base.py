"""What a collective is: rounds of frames between ranks; and what it asks of the links below.

A vector's parts (each rank's slice or partial sum) are blocks, numbered by rank. An all-gather is
written as rounds in which ranks hand blocks on; an all-reduce is an all-gather of whole partial
sums that every rank adds up, or, where a collective scatters, rounds that bring the partial sums of
each rank's columns to it, and an all-gather of what it made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from dllama_engine.arrays import Table
from dllama_engine.sharding.collective import Collective as Name


@dataclass(frozen=True, slots=True)
class Move:
    """One frame from src to dst: `count` blocks from `first` on, counted round the ranks."""

    src: int
    dst: int
    first: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes over one directed link."""

    messages: int
    payload_bytes: int

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.messages + other.messages, self.payload_bytes + other.payload_bytes)


Round: TypeAlias = tuple[Move, ...]
Flow: TypeAlias = Mapping[tuple[int, int], Traffic]  # by (src, dst); nothing where there is none


class Collective(Protocol):
    """One way in which ranks exchange vectors; sizes are bytes, a rank's block each.

    Attributes:
        name: its word.
    """

    name: Name

    def gather_rounds(self, n: int) -> Sequence[Round]:
        """The all-gather among n ranks; a rank's blocks stand from `first_block` on, in a ring."""

    def first_block(self, rank: int, n: int) -> int:
        """Which block stands first in a rank's memory, so that every frame is one stretch of it."""

    def scatter_rounds(self, n: int) -> Sequence[Round]:
        """How partial sums of a block's columns reach its rank; none where each rank adds all."""

    def gather_flow(self, sizes: Sequence[int]) -> Flow:
        """Closed form of the all-gather; a frame without any bytes is not sent."""

    def reduce_flow(self, whole: int, chunks: Sequence[int]) -> Flow:
        """Closed form of the all-reduce of vectors of `whole` bytes, cut into ranks' chunks."""


def traffic(sizes: Sequence[int]) -> Traffic:
    """Frames of such sizes on one link; an empty one is not sent.

    >>> traffic([34, 0, 34])
    Traffic(messages=2, payload_bytes=68)
    """
    return Traffic(sum(1 for size in sizes if size), sum(sizes))


class Exchanger(Protocol):
    """The part of `wire.Links` that collectives need."""

    table: Table
    mesh: Table

    def routes(self) -> Table:
        """A table of routes on which nothing goes anywhere yet."""

    def exchange_routes(self, op: str, routes: Table, routes_at: int = 0) -> None:
        """Send and receive one frame on every link that the routes name, at that address."""

    def settle(self, status: int) -> None:
        """What an exchange that returned before its end needs."""

    def forget_exchange(self) -> None:
        """Do not go on with it."""
