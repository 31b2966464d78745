"""The people, places and things of the stories: plain data, no templates and no randomness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gender:
    """The pronouns that go with a person, and the word for a child."""

    subject: str
    object: str
    possessive: str
    child: str


SHE = Gender("she", "her", "her", "girl")
HE = Gender("he", "him", "his", "boy")

GIRLS = (
    "Mina", "Lily", "Anna", "Emma", "Nora", "Rosa", "Ella", "Sara", "Ivy", "Ruby", "Lucy", "Maya",
)  # fmt: skip
BOYS = ("Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Finn", "Noah", "Omar", "Hugo", "Paul", "Theo")

PEOPLE: dict[str, Gender] = {name: SHE for name in GIRLS} | {name: HE for name in BOYS}
"""Every name a story may use, with its one and only gender."""

FRIENDS = tuple(name for pair in zip(BOYS, GIRLS[1:] + GIRLS[:1], strict=True) for name in pair)
"""The same names as friends, the commonest first."""

ELDERS: dict[str, Gender] = {
    "grandmother": SHE,
    "mother": SHE,
    "aunt": SHE,
    "grandfather": HE,
    "father": HE,
    "uncle": HE,
}
"""Grown-ups of the hero's family."""

HELPERS: dict[str, Gender] = {
    "farmer": HE,
    "baker": SHE,
    "teacher": SHE,
    "fisherman": HE,
    "gardener": HE,
    "nurse": SHE,
}
"""Grown-ups of the village."""

PLACES: dict[str, str] = {
    "park": "in the park",
    "lake": "at the lake",
    "forest": "in the forest",
    "river": "by the river",
    "hill": "on the hill",
    "farm": "at the farm",
    "beach": "on the beach",
    "market": "at the market",
    "village": "in the village",
    "bridge": "by the bridge",
}
"""Every place, and how somebody is there."""

COLORS = ("red", "blue", "green", "yellow", "white", "brown", "golden", "silver")

THINGS: dict[str, tuple[str, ...]] = {
    "toy": ("ball", "kite", "boat", "drum", "doll", "train", "bell", "top"),
    "cloth": ("hat", "scarf", "cap", "ribbon"),
    "animal": ("dog", "cat", "rabbit", "bird", "duck", "lamb"),
    "fur": ("white", "brown", "black", "grey"),
    "food": ("bread", "cake", "pie", "jam", "pudding"),
    "dish": ("soup", "rice", "bread", "porridge"),
    "fruit": ("apples", "berries", "pears", "plums", "nuts"),
    "flower": ("roses", "tulips", "daisies", "sunflowers"),
    "gift": ("book", "ring", "shell", "coin", "map"),
    "vessel": ("bowl", "cup", "jar", "plate"),
    "water": ("lake", "river", "pool", "pond"),
    "swimmer": ("fish", "duck", "frog"),
}
"""Slots that a story fills once, each with its choices, the commonest first."""
