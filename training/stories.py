"""Deterministic generator of simple English stories: a seed and a number give one story.

Knows nothing about tokens. A story chooses its cast once (hero, friend, grown-ups, things), then
one plot, then one sentence for every beat of the plot; every slot is filled from the cast, so what
a story says at its end agrees with what it said at its beginning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from training import plots, world
from training.plots import PLOTS, Plot

WORD = re.compile(r"[A-Za-z]+")
SLOT = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Story:
    """One story, with the choices it was made from."""

    text: str
    plot: str
    cast: dict[str, str]


def _pronouns(prefix: str, gender: world.Gender) -> dict[str, str]:
    """The slots of one person's pronouns: `she`, `him`/`her` and `child`, prefixed."""
    slots = {"she": gender.subject, "her": gender.possessive, "him": gender.object}
    return {prefix + slot: word for slot, word in slots.items()} | {prefix + "child": gender.child}


def _draw_cast(rng: random.Random) -> dict[str, str]:
    """Choose everybody and everything one story may mention."""
    hero, friend = rng.sample(sorted(world.PEOPLE), 2)
    elder, helper = rng.choice(sorted(world.ELDERS)), rng.choice(sorted(world.HELPERS))
    color, color2 = rng.sample(world.COLORS, 2)
    cast = {"hero": hero, "friend": friend, "elder": elder, "helper": helper}
    cast |= {"color": color, "color2": color2}
    for slot, choices in THINGS.items():
        cast[slot] = rng.choice(choices)
    cast["a_helper"] = "a " + helper
    cast |= _pronouns("", world.PEOPLE[hero]) | _pronouns("f", world.PEOPLE[friend])
    return cast | _pronouns("e", world.ELDERS[elder]) | _pronouns("h", world.HELPERS[helper])
