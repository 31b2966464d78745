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
    """What serves batches of so many tokens and more, up to the next pick."""

    from_tokens: int
    collective: Collective

    @staticmethod
    def from_json(data: dict[str, Any]) -> Pick:
        """The inverse of `to_json`."""
        return Pick(int(data["from_tokens"]), Collective(data["collective"]))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def first_picks(asked: Collective) -> tuple[Pick, ...]:
    """What serves before anything is known of the links: what was asked for; for auto the mesh."""
    return (Pick(1, Collective.MESH if asked is Collective.AUTO else asked),)


def pick_for(picks: Sequence[Pick], n_tokens: int) -> Collective:
    """Which collective serves a batch of that many tokens.

    >>> picks = (Pick(1, Collective.MESH), Pick(9, Collective.TWO_SHOT))
    >>> str(pick_for(picks, 8)), str(pick_for(picks, 9))
    ('mesh', 'two-shot')
    """
    return [pick for pick in picks if pick.from_tokens <= n_tokens][-1].collective
