"""Which limits and tolerances a cell has: the more special table wins, metric by metric.

A model's own name comes before a pattern that matches it, a pattern before the defaults; within
each, node counts and workloads narrow it down. Knows nothing of pytest, nor of files' syntax.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Workload
from pytest_dllama.verdict.limits.limit import (
    FOR_ANOTHER,
    TOLERANCES,
    Direction,
    Threshold,
    ThresholdError,
    Tolerance,
)
from pytest_dllama.verdict.limits.scaling import ScalingLimit

TableKey = tuple[str | None, int | None, str]  # model or pattern, nodes, workload; None, "": of all
NO_SWEEP = Workload()


@dataclass(frozen=True, slots=True)
class LimitTable:
    """What one table of the file says."""

    limits: Mapping[tuple[str, Direction], Threshold] = field(default_factory=dict)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether it limits nothing."""
        return not self.limits and not self.tolerances


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All that a file says."""

    tables: Mapping[TableKey, LimitTable] = field(default_factory=dict)
    scaling: Mapping[str | None, tuple[ScalingLimit, ...]] = field(default_factory=dict)
    file: str = ""  # its name in messages
    tolerated: float | None = None  # of every judged metric, whatever the tables say

    def of(self, model: str, nodes: int, workload: Workload = NO_SWEEP) -> tuple[Threshold, ...]:
        """The limits of one cell."""
        merged: dict[tuple[str, Direction], Threshold] = {}
        for table in self._tables_of(model, nodes, workload):
            overridden = {metric for metric, _ in table.limits}
            merged = {k: v for k, v in merged.items() if k[0] not in overridden}
            merged |= table.limits
        limits = merged.values()
        return tuple(t for t in limits if nodes > 1 or not METRICS[t.metric].needs_peers)

    def tolerances_of(
        self, model: str, nodes: int, workload: Workload = NO_SWEEP
    ) -> dict[str, float]:
        """Metric -> relative change for the worse that is tolerated in one cell."""
        given: dict[str, float] = {}
        for table in self._tables_of(model, nodes, workload):
            given |= {metric: item.worse for metric, item in table.tolerances.items()}
        theirs = {name: given[other] for name, other in FOR_ANOTHER.items() if other in given}
        found = {**TOLERANCES, **theirs, **given}
        if self.tolerated is not None:
            found = dict.fromkeys(found, self.tolerated)
        return {m: worse for m, worse in found.items() if nodes > 1 or not METRICS[m].needs_peers}

    def scaling_of(self, model: str) -> tuple[ScalingLimit, ...]:
        """The limits between node counts of one model; the more special table has all of them."""
        found: tuple[ScalingLimit, ...] = ()
        for name in (None, *self._names_of(model)):
            found = self.scaling.get(name) or found
        return found

    def _tables_of(self, model: str, nodes: int, workload: Workload) -> list[LimitTable]:
        """The tables that mean a cell, the most special one last."""
        return [
            table
            for name in (None, *self._names_of(model))
            for count in (None, nodes)
            for load in workload_names(workload)
            if (table := self.tables.get((name, count, load))) is not None
        ]

    def _names_of(self, model: str) -> list[str]:
        """Names of the file's models that mean this one: a pattern, then its own."""
        patterns = [name for name in self.models() if name != model and fnmatchcase(model, name)]
        return [*sorted(patterns), model]

    def models(self) -> frozenset[str]:
        """The models and patterns the file names."""
        named = {key[0] for key in self.tables} | set(self.scaling)
        return frozenset(name for name in named if name is not None)

    def check_patterns(self, models: Sequence[str]) -> None:
        """Which of two patterns wins must not depend on chance.

        Raises:
            ThresholdError: two patterns match one of these models.
        """
        for model in models:
            matching = [f"[models.{name!r}]" for name in self._names_of(model)[:-1]]
            if len(matching) > 1:
                raise ThresholdError(
                    f"{self.file}: {' and '.join(matching)} both match the model {model!r}; make "
                    f"one of them narrower, or write [models.{model}] and drop one"
                )

    def unmatched(
        self, cells: Sequence[tuple[str, int]], workloads: Sequence[Workload] = ()
    ) -> tuple[str, ...]:
        """A sentence for each table whose limits none of the cells has, with what was meant.

        Args:
            cells: model and node count of every cell of the run.
            workloads: those that each of them was measured with.
        """
        models = list(dict.fromkeys(model for model, _ in cells))
        counts = sorted({nodes for _, nodes in cells})
        known = [name for load in workloads for name in workload_names(load)]
        unknown = [name for name in self.models() if not _means_any(name, models)]
        sentences = [_no_such_model(self.file, model, models) for model in sorted(unknown)]
        for (model, nodes, workload), table in self.tables.items():
            if table.is_empty or model in unknown:
                continue
            if workload and workload not in known:
                sentences.append(_no_such_workload(self.file, model, nodes, workload, workloads))
            elif nodes is not None and nodes not in counts:
                sentences.append(
                    f"{self.file} [{table_name(model, nodes)}] limits no cell of this run; it has "
                    f"{_listed(counts)}"
                )
        return (*sentences, *self._idle_scaling(unknown, counts))

    def _idle_scaling(self, unknown: Sequence[str], counts: Sequence[int]) -> list[str]:
        return [
            f"{limit.source} scaling: {limit.text!r} compares nothing in this run; it has "
            f"{_listed(counts)}"
            for model, limits in self.scaling.items()
            if model not in unknown
            for limit in limits
            if not {limit.nodes, limit.other} <= set(counts)
        ]


def table_name(model: str | None, nodes: int | None = None) -> str:
    """As it stands in the file."""
    name = "defaults" if model is None else f"models.{model}"
    return name if nodes is None else f"{name}.nodes.{nodes}"


def workload_names(workload: Workload) -> list[str]:
    """Every name under which a table may mean it: any of its parts, in order; fewer parts first.

    >>> workload_names(Workload(prompt_tokens=64, output_tokens=32))
    ['', 'pp64', 'tg32', 'pp64-tg32']
    """
    fields = ("prompt_tokens", "output_tokens", "context_depth")
    sizes = [Workload(**{name: getattr(workload, name)}) for name in fields]
    parts = [*sizes, *(Workload(options=(option,)) for option in workload.options)]
    given = [part.suffix for part in parts if part.suffix]
    chosen = (c for n in range(len(given) + 1) for c in combinations(given, n))
    return ["".join(names).removeprefix("-") for names in chosen]


def _means_any(name: str, models: Sequence[str]) -> bool:
    return any(name == model or fnmatchcase(model, name) for model in models)


def _listed(counts: Sequence[int]) -> str:
    """Node counts in words.

    >>> _listed([1]), _listed([2, 4])
    ('1 node', '2, 4 nodes')
    """
    return f"{', '.join(map(str, counts))} node{'' if list(counts) == [1] else 's'}"


def _no_such_model(file: str, model: str, models: Sequence[str]) -> str:
    near = difflib.get_close_matches(model, models, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(models)}"
    return f"{file} [models.{model}] limits no cell of this run; {meant}"


def _no_such_workload(
    file: str, model: str | None, nodes: int | None, workload: str, run: Sequence[Workload]
) -> str:
    has = [load.suffix.removeprefix("-") for load in run if load.suffix]
    what = f"it has {', '.join(has)}" if has else "it sweeps nothing"
    name = table_name(model, nodes)
    return f"{file} [{name}.workloads.{workload}] limits no cell of this run; {what}"
