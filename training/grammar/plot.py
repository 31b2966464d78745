"""What a plot is: a sequence of beats, each a choice of sentences.

A slot in braces is filled from the story's own cast, so a name, a pronoun or an object never
changes on the way; `training.stories` does the choosing. A slot written with a capital (`{She}`)
starts a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

Beat = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One kind of story: its opening words follow the time and the hero's name."""

    name: str
    opening: Beat
    beats: tuple[Beat, ...]
