"""Every plot, the commonest first."""

from __future__ import annotations

from training.grammar.friends import AFRAID, GARDEN, OLD_KEY, ONE_TOY
from training.grammar.lost import LOST_ANIMAL, LOST_IN_FOG, LOST_IN_WIND
from training.grammar.mishaps import BAD_CAKE, BROKEN_THING, WET_PATH

PLOTS = (
    WET_PATH, LOST_IN_WIND, LOST_ANIMAL, BAD_CAKE, BROKEN_THING,
    LOST_IN_FOG, ONE_TOY, GARDEN, OLD_KEY, AFRAID,
)  # fmt: skip
