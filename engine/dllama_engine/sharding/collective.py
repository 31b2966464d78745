"""What serves batches of how many tokens: which collective, with overlap (in halves) or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Collective(StrEnum):
    """How ranks exchange their vectors; the words of `--collective`."""

    MESH = "mesh"
    TWO_SHOT = "two-shot"
    STAR = "star"
    RING = "ring"
    DOUBLING = "doubling"
    GATHER_BCAST = "gather-bcast"

    @property
    def scatters(self) -> bool:
        """Whether partial sums are summed by one rank a column, and so cast a second time."""
        return self in (Collective.TWO_SHOT, Collective.STAR, Collective.RING)


@dataclass(frozen=True, slots=True)
class Pick:
    """What serves batches of so many tokens and more, up to the next pick.

    Attributes:
        from_tokens: the least tokens of such a batch.
        collective: how ranks exchange.
        in_halves: whether computation and communication overlap: the batch, of two tokens at least,
            is cut into two micro-batches, and one is computed while the other is on the wire.
    """

    from_tokens: int
    collective: Collective
    in_halves: bool = False

    def __post_init__(self) -> None:
        if self.in_halves and self.from_tokens < 2:
            raise ValueError(f"{self}: a single token has no halves")

    @staticmethod
    def from_json(data: dict[str, Any]) -> Pick:
        """The inverse of `to_json`."""
        collective = Collective(data["collective"])
        return Pick(int(data["from_tokens"]), collective, bool(data.get("in_halves", False)))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def with_halves(picks: Sequence[Pick], from_tokens: int) -> tuple[Pick, ...]:
    """The same collectives; batches of so many tokens and more go in halves, which overlap.

    >>> [(p.from_tokens, p.in_halves) for p in with_halves([Pick(1, Collective.MESH)], 8)]
    [(1, False), (8, True)]
    """
    below = [pick for pick in picks if pick.from_tokens < from_tokens]
    above = [Pick(pick.from_tokens, pick.collective, True) for pick in picks[len(below) :]]
    if not above or above[0].from_tokens > from_tokens:
        above.insert(0, Pick(from_tokens, below[-1].collective, True))
    return (*below, *above)


def halves_from(picks: Sequence[Pick]) -> int | None:
    """From how many tokens on batches go in halves; None if none does."""
    return next((pick.from_tokens for pick in picks if pick.in_halves), None)


def pick_for(picks: Sequence[Pick], n_tokens: int) -> Pick:
    """What serves a batch of that many tokens.

    >>> picks = (Pick(1, Collective.MESH), Pick(9, Collective.TWO_SHOT))
    >>> str(pick_for(picks, 8).collective), str(pick_for(picks, 9).collective)
    ('mesh', 'two-shot')
    """
    return [pick for pick in picks if pick.from_tokens <= n_tokens][-1]
