"""The people, places and things of the stories: plain data, no templates and no randomness."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gender:
    """The pronouns and family words that go with a person or an animal."""

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

ANIMALS = ("dog", "cat", "bird", "rabbit", "duck", "pony")
PLACES = ("park", "forest", "river", "lake", "market", "farm", "hill", "beach", "village", "school")
TOYS = ("ball", "kite", "drum", "boat", "doll", "train", "bell", "lamp")
CLOTHES = ("hat", "scarf", "coat", "ribbon")
COLORS = ("red", "blue", "green", "yellow", "white", "brown", "golden", "silver")
SIZES = ("small", "big", "old", "pretty")
FOODS = ("bread", "soup", "cake", "pie", "rice", "jam")
FRUITS = ("apples", "pears", "berries", "plums", "carrots", "beans")
FLOWERS = ("roses", "daisies", "tulips", "sunflowers")
GIFTS = ("book", "map", "key", "shell", "ring", "coin")
