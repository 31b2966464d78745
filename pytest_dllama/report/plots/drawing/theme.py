"""Colours of pictures: one set for light pages, one for dark; told apart by colour-blind readers.

The series follow Okabe and Ito (2008, "Color Universal Design"), darkened or lightened until they
stand out from the surface. No two roles of the light set share a colour: a picture drawn in light
becomes a dark one by exchanging colours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role."""

    surface: str
    ink: str
    muted: str
    grid: str
    limit: str  # what cannot be beaten, or is tolerated
    bad: str
    good: str
    series: tuple[str, ...]

    def colours(self) -> tuple[str, ...]:
        """All of them, in the order of the roles."""
        single = [getattr(self, field.name) for field in fields(self) if field.name != "series"]
        return (*single, *self.series)


LIGHT = Theme(
    surface="#ffffff",
    ink="#1b1f24",
    muted="#57606a",
    grid="#d8dee4",
    limit="#8a4b08",
    bad="#b42318",
    good="#12715b",
    series=(
        *("#0072b2", "#d55e00", "#009e73", "#b3528f", "#c68a00"),
        *("#56b4e9", "#6f4fa3", "#7d8590", "#a0523d", "#3f6d2f"),
    ),
)
DARK = Theme(
    surface="#0d1117",
    ink="#e6edf3",
    muted="#9aa4af",
    grid="#30363d",
    limit="#f2b36b",
    bad="#ff7b72",
    good="#3fd0a4",
    series=(
        *("#4aa8e8", "#ff8c42", "#2bc79a", "#e08fc0", "#f0c24b"),
        *("#9bd6ff", "#b79af0", "#a9b1ba", "#d98a74", "#8cc276"),
    ),
)


def dark_rules() -> str:
    """CSS that exchanges the light colours of a picture for the dark ones.

    No selector names an ancestor: marks are drawn by `<use>`, whose copies have none.
    """
    rules = []
    for light, dark in zip(LIGHT.colours(), DARK.colours(), strict=True):
        for what in ("fill", "stroke"):
            rules.append(f'[style*="{what}: {light}"]{{{what}:{dark}!important}}')
    return "".join(rules)
