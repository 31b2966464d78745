"""Deterministic generator of simple English stories: a seed and a number give one story.

Knows nothing about tokens. A story chooses its cast once (hero, friend, grown-ups, things), then
one plot, then one sentence for every beat of the plot; every slot is filled from the cast, so what
a story says at its end agrees with what it said at its beginning.

Choices are skewed on purpose: where two continuations are equally right, a greedy run would hang on
the last bit of a logit, and different node counts would rightly disagree. Here the first choice of
a list is clearly the likeliest.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TypeVar

from training import world
from training.grammar.openings import ALWAYS, HABITS, ONCE, TURN
from training.grammar.plot import Plot
from training.grammar.plots import PLOTS

T = TypeVar("T")

WORD = re.compile(r"[A-Za-z]+")
SLOT = re.compile(r"\{(\w+)\}")
HABIT_SHARE = 0.15
"""Share of the stories that begin with a habit ("Every day, ...")."""


@dataclass(frozen=True, slots=True)
class Story:
    """One story, with the choices it was made from (slot -> words)."""

    text: str
    plot: str
    cast: dict[str, str]


def stories(seed: int) -> Iterator[Story]:
    """Yield distinct stories without end; a seed always gives the same ones in the same order."""
    seen: set[str] = set()
    for number in count():
        story = make_story(random.Random(f"{seed}:{number}"))
        if story.text not in seen:
            seen.add(story.text)
            yield story


def make_story(rng: random.Random) -> Story:
    """Make one story from the generator's next random numbers."""
    cast = _draw_cast(rng)
    plot = _pick(rng, PLOTS, 0.3)
    sentences = [_opening(rng, plot)]
    sentences += [_pick(rng, beat, 1.5) for beat in plot.beats]
    return Story(fill(" ".join(sentences), cast), plot.name, cast)


def fill(template: str, cast: dict[str, str]) -> str:
    """Fill a template's slots; a slot with a capital starts a sentence.

    >>> fill("{She} met {hero}.", {"she": "he", "hero": "Mina"})
    'He met Mina.'
    """

    def words(slot: re.Match[str]) -> str:
        name = slot[1]
        text = cast[name.lower()]
        return text[0].upper() + text[1:] if name[0].isupper() else text

    return SLOT.sub(words, template)


def vocabulary() -> frozenset[str]:
    """Every word a story can contain, in its exact case."""
    templates = [*ONCE, *ALWAYS, *HABITS, *TURN]
    for plot in PLOTS:
        templates += [*plot.opening, *(text for beat in plot.beats for text in beat)]
    words = {word for text in templates for word in WORD.findall(SLOT.sub(" ", text))}
    fillers = _fillers()
    for name in {slot for text in templates for slot in SLOT.findall(text)}:
        for text in fillers[name.lower()]:
            words |= set(WORD.findall(fill(f"{{{name}}}", {name.lower(): text})))
    return frozenset(words)


def _opening(rng: random.Random, plot: Plot) -> str:
    start = _pick(rng, plot.opening, 1.5)
    if rng.random() >= HABIT_SHARE:
        return f"{_pick(rng, ONCE, 0.7)} {{hero}} {start}"
    habit = f"{_pick(rng, ALWAYS, 0.7)} {{hero}} {_pick(rng, HABITS, 1.0)}"
    return f"{habit} {_pick(rng, TURN, 1.5)} {start}"


def _draw_cast(rng: random.Random) -> dict[str, str]:
    """Choose everybody and everything one story may mention."""
    hero = _pick(rng, list(world.PEOPLE), 0.3)
    friend = _pick(rng, [name for name in world.FRIENDS if name != hero], 1.0)
    elder, helper = _pick(rng, list(world.ELDERS), 1.0), _pick(rng, list(world.HELPERS), 1.0)
    color = _pick(rng, world.COLORS, 1.0)
    color2 = _pick(rng, [other for other in world.COLORS if other != color], 1.0)
    place = _pick(rng, list(world.PLACES), 1.0)
    cast = {"hero": hero, "friend": friend, "elder": elder, "helper": helper, "place": place}
    cast |= {"color": color, "color2": color2, "a_helper": "a " + helper}
    cast["at_place"] = world.PLACES[place]
    cast |= {slot: _pick(rng, choices, 1.0) for slot, choices in world.THINGS.items()}
    cast |= _pronouns("", world.PEOPLE[hero]) | _pronouns("f", world.PEOPLE[friend])
    return cast | _pronouns("e", world.ELDERS[elder]) | _pronouns("h", world.HELPERS[helper])


def _pick(rng: random.Random, choices: Sequence[T], skew: float) -> T:
    """Draw one choice with weight 1 / rank**skew."""
    weights = [(rank + 1) ** -skew for rank in range(len(choices))]
    return rng.choices(choices, weights)[0]


def _pronouns(prefix: str, gender: world.Gender) -> dict[str, str]:
    """The slots of one person: `she`, `her` (possessive), `him` (object) and `child`, prefixed."""
    slots = {"she": gender.subject, "her": gender.possessive, "him": gender.object}
    return {prefix + slot: word for slot, word in (slots | {"child": gender.child}).items()}


def _fillers() -> dict[str, set[str]]:
    """Everything each slot may be filled with."""
    people = set(world.PEOPLE)
    fillers = {"hero": people, "friend": people, "elder": set(world.ELDERS)}
    fillers |= {"helper": set(world.HELPERS), "a_helper": {"a " + name for name in world.HELPERS}}
    fillers |= {"color": set(world.COLORS), "color2": set(world.COLORS)}
    fillers |= {"place": set(world.PLACES), "at_place": set(world.PLACES.values())}
    fillers |= {slot: set(choices) for slot, choices in world.THINGS.items()}
    for prefix in ("", "f", "e", "h"):
        she, he = _pronouns(prefix, world.SHE), _pronouns(prefix, world.HE)
        fillers |= {slot: {she[slot], he[slot]} for slot in she}
    return fillers


def main() -> None:
    """Print stories, one a line."""
    parser = argparse.ArgumentParser(prog="python -m training.stories", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--count", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    for story in islice(stories(options.seed), options.count):
        print(story.text)


if __name__ == "__main__":
    main()
