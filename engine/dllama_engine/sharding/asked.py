"""What `--collective` and `--overlap` say: a word, from how many tokens of a batch on, or `auto`.

    mesh            the mesh serves every batch
    mesh,star@13    the mesh, and a star batches of 13 tokens and more
    on@4            batches of 4 tokens and more go in halves

`auto` leaves it to a probe of the links; whatever that picks can be said in these forms, so that
another session is the same program.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from dllama_engine.errors import PlanError
from dllama_engine.sharding.collective import Collective, Pick, halves_from, with_halves

AUTO = "auto"
COLLECTIVE_WORDS = (AUTO, *Collective)
OVERLAP_WORDS = ("off", "on", AUTO)
COLLECTIVE_FORM = "NAME[,NAME@TOKENS..]"
OVERLAP_FORM = "off|on|on@TOKENS|auto"
MOST_TOKENS = 65535  # of a batch
_SEPARATORS = re.compile(r"[,+]")  # + is for lists in which a comma ends the entry
_LOOSE = re.compile(r"([a-z-]+?)-?[@=: ]?(\d+)")  # star13, star=13, star-13


@dataclass(frozen=True, slots=True)
class CollectiveOption:
    """Which collective serves batches from how many tokens on.

    Attributes:
        steps: tokens, rising from 1, and what serves from there on; empty: a probe decides.
    """

    steps: tuple[tuple[int, Collective], ...] = ((1, Collective.MESH),)

    @property
    def is_auto(self) -> bool:
        """Whether it is left to a probe."""
        return not self.steps

    @classmethod
    def of(cls, picks: Sequence[Pick]) -> CollectiveOption:
        """What asks for just these picks."""
        firsts = (next(alike) for _, alike in groupby(picks, lambda pick: pick.collective))
        return cls(tuple((pick.from_tokens, pick.collective) for pick in firsts))

    @classmethod
    def parse(cls, text: str) -> CollectiveOption:
        """Read it.

        >>> str(CollectiveOption.parse("mesh+star@13"))
        'mesh,star@13'

        Raises:
            PlanError: no such name, or numbers of tokens that do not rise; with what to write.
        """
        if text == AUTO:
            return cls(())
        steps = tuple(_step(text, part) for part in _SEPARATORS.split(text))
        least, name = steps[0]
        if least != 1:
            raise PlanError(
                f"collective {text!r}: what serves batches of fewer than {least} tokens? "
                f"write that first, as in mesh+{name}@{least}"
            )
        for (tokens, name), (later, other) in pairwise(steps):
            if later <= tokens:
                raise PlanError(
                    f"collective {text!r}: the numbers of tokens must rise, but {later} stands "
                    f"behind {tokens}; write {other}@{tokens + 1} or more"
                )
            if other is name:
                raise PlanError(
                    f"collective {text!r}: {other}@{later} changes nothing, as {name} serves "
                    "already; leave it out"
                )
        return cls(steps)

    def picks(self) -> tuple[Pick, ...]:
        """What serves, none of it in halves; the mesh where a probe is to decide."""
        return tuple(Pick(*step) for step in self.steps) or (Pick(1, Collective.MESH),)

    def __str__(self) -> str:
        """As it is written."""
        words = (name if tokens == 1 else f"{name}@{tokens}" for tokens, name in self.steps)
        return ",".join(words) or AUTO


@dataclass(frozen=True, slots=True)
class OverlapOption:
    """Which batches go in halves, one computed while the other is sent.

    Attributes:
        from_tokens: of so many tokens and more; 0: none does; None: a probe decides.
    """

    from_tokens: int | None = 0

    @property
    def is_auto(self) -> bool:
        """Whether it is left to a probe."""
        return self.from_tokens is None

    @classmethod
    def of(cls, picks: Sequence[Pick]) -> OverlapOption:
        """What asks for just these picks."""
        return cls(halves_from(picks) or 0)

    @classmethod
    def parse(cls, text: str) -> OverlapOption:
        """Read it.

        >>> OverlapOption.parse("on@4").from_tokens, OverlapOption.parse("on").from_tokens
        (4, 2)

        Raises:
            PlanError: none of the forms, or too few tokens to halve; with what to write.
        """
        if text in OVERLAP_WORDS:
            return cls({"off": 0, "on": 2, AUTO: None}[text])
        word, _, tokens = text.partition("@")
        if word != "on" or not tokens.isascii() or not tokens.isdecimal():
            listed = ", ".join((*OVERLAP_WORDS, "on@TOKENS"))
            raise PlanError(f"overlap {text!r}: there are {listed}{_meant(_near_overlap(text))}")
        if not 2 <= int(tokens) <= MOST_TOKENS:
            raise PlanError(
                f"overlap {text!r}: a batch in halves has 2 to {MOST_TOKENS} tokens; write on@2, "
                "which is on, or more"
            )
        return cls(int(tokens))

    def picks(self, whole: Sequence[Pick]) -> tuple[Pick, ...]:
        """These picks, in halves where that is asked for."""
        return with_halves(whole, self.from_tokens) if self.from_tokens else tuple(whole)

    def __str__(self) -> str:
        """As it is written."""
        words = {0: "off", 2: "on", None: AUTO}
        return words.get(self.from_tokens, f"on@{self.from_tokens}")


def _step(text: str, part: str) -> tuple[int, Collective]:
    """One part of a list: `star`, or `star@13`."""
    name, at, tokens = part.strip().partition("@")
    if at and (not tokens.isascii() or not tokens.isdecimal() or int(tokens) > MOST_TOKENS):
        raise PlanError(
            f"collective {text!r}: behind @ stands from how many tokens of a batch on it serves, "
            f"1 to {MOST_TOKENS}, as in star@13; it is {tokens!r}"
        )
    try:
        return int(tokens or 1), Collective(name)
    except ValueError:
        if name == AUTO:
            raise PlanError(
                f"collective {text!r}: auto picks for all batches, and stands alone"
            ) from None
        listed = ", ".join(COLLECTIVE_WORDS)
        raise PlanError(
            f"collective {name!r}: there are {listed}{_meant(_near_collective(name))}"
        ) from None


def _near_collective(name: str) -> str | None:
    """The nearest right spelling; `star13` is meant to be `star@13`."""
    plain = name.lower().replace("_", "-")
    if plain in COLLECTIVE_WORDS:
        return plain
    if (loose := _LOOSE.fullmatch(plain)) and (near := _nearest(loose[1], COLLECTIVE_WORDS)):
        return near if near == AUTO else f"{near}@{loose[2]}"
    return _nearest(plain, COLLECTIVE_WORDS)


def _near_overlap(text: str) -> str | None:
    """The nearest right spelling; a number is meant to be `on@NUMBER`."""
    if found := re.search(r"\d+", text):
        return f"on@{max(2, int(found[0]))}"
    return _nearest(text.lower(), OVERLAP_WORDS)


def _nearest(word: str, words: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(words), 1)), None)


def _meant(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""
