"""Takes the pairs of a proof with the code that judges users' changes, and writes each one down.

Resumable: what the journal already holds is not measured again.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.sessions.defaults import suite_config
from benchmarks.verdicts.proof.journal import Comparison, Condition, Failure, Journal, Pair
from benchmarks.verdicts.proof.taking.busy import one_busy_core
from pytest_dllama.amounts import counted
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.hosts.base import Progress
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.builds.commits import revision_at
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, PairTaken, Rules, Side
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models.model_files import check_model, open_model
from pytest_dllama.stats.looks import Plan

PAIRS_A_COMPARISON = 30  # whole blocks of three and of ten
FEWEST = 2  # that a plan can have
GIVE_UP_AFTER = 3  # comparisons in a row that gave a cell no pair
REPOSITORY = Path(__file__).resolve().parents[4]


class OtherWork(ValueError):
    """A journal whose pairs are of other machines or of other requests."""


class NoPairs(RuntimeError):
    """A cell that gives no pair however often it is tried."""


@dataclass(frozen=True, slots=True)
class Wish:
    """So many pairs of each of these cells under a condition."""

    condition: Condition
    cells: tuple[str, ...]
    pairs: int  # of each cell


def counts(wish: Wish, journal: Journal) -> dict[str, int]:
    """Pairs that there are of each cell of a wish."""
    found = [pair.cell for pair in journal.pairs(wish.condition)]
    return {cell: found.count(cell) for cell in wish.cells}


def missing(wish: Wish, journal: Journal) -> dict[str, int]:
    """Pairs that a wish lacks, of the cells that lack any."""
    there = counts(wish, journal)
    return {cell: wish.pairs - n for cell, n in there.items() if n < wish.pairs}


def parse_cell(text: str) -> CellKey:
    """`tiny-2`: a model on so many nodes.

    >>> parse_cell("llama-160m-4")
    CellKey(model='llama-160m', nodes=4, workload=Workload(prompt_tokens=None, \
output_tokens=None, context_depth=None, options=()))

    Raises:
        ValueError: no node count at its end.
    """
    model, _, nodes = text.rpartition("-")
    if not model or not nodes.isdigit() or int(nodes) < 1:
        raise ValueError(f"cell {text!r}: write MODEL-NODES, as in tiny-2 or llama-160m-4")
    return CellKey(model, int(nodes))


class Campaign:
    """Fills a journal.

    Args:
        journal: where each pair goes.
        cells: all cells that will be asked for.
        steps: positions of a request, prompt included.
        folder: of logs and of what the duet keeps.
        progress: where to tell how far it is.

    Raises:
        ConfigError: a cell that no model can be split for.
        OtherWork: the journal has pairs of another machine, prompt or number of steps.
    """

    def __init__(
        self,
        journal: Journal,
        cells: Sequence[str],
        steps: int,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._journal, self._folder, self._progress = journal, folder, progress
        self._keys = {cell: parse_cell(cell) for cell in cells}
        self._config = _config(list(self._keys.values()), steps, folder)
        for spec in self._config.models:
            check_model(spec, self._config.node_counts, self._config)
        self._hosts, self._environment = LocalHosts(), probe_environment()
        self._fingerprint = fingerprint(self._environment, self._hosts.kind)
        self._check_same_work()
        with progress.running():
            self._models = {
                spec.name: open_model(spec, progress.transfer) for spec in self._config.models
            }

    def _check_same_work(self) -> None:
        now = (self._fingerprint, self._config.steps, self._config.prompt)
        for row in self._journal.comparisons():
            then = (row.fingerprint, row.steps, row.prompt)
            if then != now:
                raise OtherWork(
                    f"{self._journal.path} has pairs of {_work(*then)}; this would be "
                    f"{_work(*now)}: give another folder with --data"
                )

    def fill(self, wish: Wish) -> None:
        """Measure what the journal lacks.

        Raises:
            NoPairs: a cell failed again and again; the journal has the reasons.
        """
        in_vain = dict.fromkeys(wish.cells, 0)
        while lacking := missing(wish, self._journal):
            self._progress.settle(f"{wish.condition}: {_listed(lacking)} to go")
            before = counts(wish, self._journal)
            # A cell that lacks fewer than the others takes some more than it was asked for.
            pairs = max(min(PAIRS_A_COMPARISON, max(lacking.values())), FEWEST)
            with self._progress.running():
                self._compare(wish, list(lacking), pairs)
            after = counts(wish, self._journal)
            for cell in lacking:
                in_vain[cell] = in_vain[cell] + 1 if after[cell] == before[cell] else 0
                if in_vain[cell] >= GIVE_UP_AFTER:
                    raise NoPairs(f"{cell}, {wish.condition}: {self._last_words(cell)}")

    def _last_words(self, cell: str) -> str:
        failures = [row for row in self._journal.failures() if row.cell == cell]
        return "; ".join(failures[-1].reasons) if failures else "no pair"

    def _tell_overall(self, wish: Wish) -> None:
        done, total = sum(counts(wish, self._journal).values()), wish.pairs * len(wish.cells)
        self._progress.overall(f"{wish.condition}: pairs {done}/{total}", done, total)

    def _compare(self, wish: Wish, cells: list[str], pairs: int) -> None:
        row = self._row(wish.condition, cells)
        self._journal.append(row)
        logs = self._folder / "logs" / row.id
        clerk = _Clerk(self._journal, row, self._progress, lambda: self._tell_overall(wish))
        rules = Rules(
            Plan((pairs,)), NoisePriors(self._folder / "history", self._fingerprint), row.seed
        )
        keys = [self._keys[cell] for cell in cells]
        sides = self._sides(wish.condition)
        duet = Duet(sides, self._models, keys, rules, logs, clerk, clerk.pair_taken)
        with one_busy_core() if wish.condition.is_busy else nullcontext():
            verdicts = duet.run()
        failed = [verdict for verdict in verdicts if verdict.status in ("ERROR", "INVALID")]
        for verdict in failed:
            self._journal.append(
                Failure(
                    comparison=row.id,
                    condition=wish.condition,
                    cell=verdict.id,
                    status=verdict.status,
                    reasons=verdict.reasons,
                )
            )
        if not failed:
            shutil.rmtree(logs, ignore_errors=True)

    def _row(self, condition: Condition, cells: Sequence[str]) -> Comparison:
        """The journal's row of a comparison that begins."""
        return Comparison(
            id=secrets.token_hex(4),
            created_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            condition=condition,
            cells=tuple(cells),
            seed=random.SystemRandom().randrange(10**6),
            steps=self._config.steps,
            prompt=self._config.prompt,
            revision=revision_at(REPOSITORY),
            fingerprint=self._fingerprint,
            environment=self._environment,
        )

    def _sides(self, condition: Condition) -> tuple[Side, Side]:
        slowed = EmbeddedBackend(inject=condition.inject)
        return (
            Side("base", "this engine", EmbeddedBackend(), self._config, self._hosts),
            Side("new", str(condition), slowed, self._config, self._hosts),
        )


class _Clerk(Silent):
    """Writes down a comparison's pairs and how long each took."""

    def __init__(
        self,
        journal: Journal,
        comparison: Comparison,
        progress: Progress,
        tell_overall: Callable[[], None],
    ) -> None:
        self._journal, self._comparison = journal, comparison
        self._progress, self._tell_overall = progress, tell_overall
        self._since_s = time.monotonic()
        tell_overall()

    def stage(self, text: str) -> None:
        """Something begins: the pair's clock with it."""
        self._since_s = time.monotonic()
        self._progress.stage(text)

    def pair_taken(self, taken: PairTaken) -> None:
        """Write the pair down."""
        now_s = time.monotonic()
        self._journal.append(
            Pair(
                comparison=self._comparison.id,
                condition=self._comparison.condition,
                cell=taken.key.id,
                number=taken.sessions[0].pair,
                sessions=taken.sessions,
                samples=taken.samples,
                invalid=taken.invalid,
                wall_s=now_s - self._since_s,
                load=os.getloadavg()[0],
            )
        )
        self._since_s = now_s
        self._tell_overall()


def _work(cluster: str, steps: int, prompt: str) -> str:
    return f"{cluster}, {steps} steps, prompt {prompt!r}"


def _listed(missing: dict[str, int]) -> str:
    return ", ".join(f"{counted(n, 'pair')} of {cell}" for cell, n in missing.items())


def _config(keys: Sequence[CellKey], steps: int, folder: Path) -> LabConfig:
    """The suites' defaults, on these cells."""
    names = list(dict.fromkeys(key.model for key in keys))
    models = [name if name == "tiny" else f"synthetic:{name}" for name in names]
    return suite_config(models, sorted({key.nodes for key in keys}), steps, folder)
