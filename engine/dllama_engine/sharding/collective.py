"""Which collective a plan asks for, and which one serves how many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from dllama_engine.errors import PlanError


class Collective(StrEnum):
    """How ranks exchange their vectors; the words of `--collective`."""

    AUTO = "auto"
    MESH = "mesh"
    TWO_SHOT = "two-shot"
    STAR = "star"
    RING = "ring"
    DOUBLING = "doubling"

    @property
    def scatters(self) -> bool:
        """Whether partial sums are summed by one rank a column, and so cast a second time."""
        return self in (Collective.TWO_SHOT, Collective.STAR, Collective.RING)

    @classmethod
    def parse(cls, text: str) -> Collective:
        """By its word.

        Raises:
            PlanError: there is none of that name.
        """
        try:
            return cls(text)
        except ValueError:
            raise PlanError(f"collective {text!r}: there are {', '.join(cls)}") from None


@dataclass(frozen=True, slots=True)
class Pick:
    """What serves batches of so many tokens and more, up to the next pick.

    Attributes:
        from_tokens: so many.
        collective: how ranks exchange.
        in_halves: whether the batch is cut in two, so that a rank computes the one half while the
            other is on the wire; of two tokens at least.
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


def first_picks(asked: Collective) -> tuple[Pick, ...]:
    """What serves before anything is known of the links: what was asked for; for auto the mesh."""
    return (Pick(1, Collective.MESH if asked is Collective.AUTO else asked),)


def pick_for(picks: Sequence[Pick], n_tokens: int) -> Pick:
    """What serves a batch of that many tokens.

    >>> picks = (Pick(1, Collective.MESH), Pick(9, Collective.TWO_SHOT))
    >>> str(pick_for(picks, 8).collective), str(pick_for(picks, 9).collective)
    ('mesh', 'two-shot')
    """
    return [pick for pick in picks if pick.from_tokens <= n_tokens][-1]
