"""Callbacks for what happens during set-up: lines for people, and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Observer:
    """Who is told what happens during set-up; by default nobody."""

    say: Callable[[str], None] = field(default=lambda line: None)
    progress: Callable[[str, int, int, str], None] = field(
        default=lambda phase, done, total, unit: None
    )
