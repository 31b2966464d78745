"""Two ways to run the engine, in adjacent pairs of sessions, judged as users' changes are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.hosts.base import Hosts
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, Rules, Side
from pytest_dllama.lab.progress import PlainLines
from pytest_dllama.models.model_files import open_model
from pytest_dllama.record.cell import Workload
from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.stats.looks import Plan


@dataclass(frozen=True, slots=True)
class Way:
    """Options of the engine, and what to call them."""

    label: str
    options: tuple[tuple[str, str], ...] = ()


def compare_ways(
    ways: tuple[Way, Way],
    config: LabConfig,
    hosts: Hosts,
    looks: Sequence[int],
    tolerances: Mapping[str, float],
    folder: Path,
    work: Workload | None = None,
) -> tuple[CellVerdict, ...]:
    """The verdict of each model on each node count.

    Args:
        ways: base and new.
        config: models, node counts and requests.
        hosts: of both.
        looks: after how many pairs to judge.
        tolerances: relative changes for the worse, by metric.
        folder: where logs and noise stay.
        work: of each request; None: the config's own.
    """
    progress = PlainLines(lambda text: print(text, flush=True))
    with progress.running():
        opened = {source.name: open_model(source, progress.transfer) for source in config.models}
    base, new = ways
    sides = (
        Side("base", base.label, EmbeddedBackend(base.options), config, hosts),
        Side("new", new.label, EmbeddedBackend(new.options), config, hosts),
    )
    rules = Rules(
        Plan(tuple(looks)),
        NoisePriors(folder / "history", "two-ways"),
        random.SystemRandom().randrange(10**6),
        lambda key: tolerances,
    )
    keys = [CellKey(name, n, work or Workload()) for name in opened for n in config.node_counts]
    duet = Duet(sides, opened, keys, rules, folder / "logs", progress)
    with progress.running():
        return duet.run()
