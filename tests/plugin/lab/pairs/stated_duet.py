"""A comparison of two engines that state their own times, by real processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pytest_dllama.backends.base import Backend
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, PairTaken, Rules, Side
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models.model_files import open_model
from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.stats.looks import Plan
from tests.plugin.lab.pairs.stated_times import config


class Told(Silent):
    """Keeps what a terminal would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def overall(self, what: str, done: float, total: float) -> None:
        self.lines.append(what)

    def stage(self, text: str) -> None:
        self.lines.append(text)

    detail = settle = stage


def compare(
    tmp_path: Path,
    base: Backend,
    new: Backend,
    *,
    looks: tuple[int, ...] = (3, 5),
    nodes: int = 1,
    on_pair: Callable[[PairTaken], None] = lambda pair: None,
    requests: int | None = 1,
    is_calibration: bool = False,
    inject: str = "",
) -> tuple[CellVerdict, list[str]]:
    settings = config(tmp_path)
    slowed = replace(settings, inject=inject)
    sides = (Side("base", "before", base, settings), Side("new", "after", new, slowed))
    model = open_model(settings.models[0], lambda done, total: None)
    told = Told()
    priors = NoisePriors(tmp_path / "history", "test")
    rules = Rules(Plan(looks), priors, 7, requests=requests, is_calibration=is_calibration)
    duet = Duet(
        sides, {"tiny": model}, [CellKey("tiny", nodes)], rules, tmp_path / "logs",
        told, on_pair,
    )  # fmt: skip
    (cell,) = duet.run()
    return cell, told.lines
