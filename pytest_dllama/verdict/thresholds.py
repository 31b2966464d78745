"""The thresholds file: limits by model and node count, typed, with precise errors.

    [defaults]                    # every cell
    ttft_s = 60                   # the limit in the metric's bad direction
    [defaults.nodes.8]            # every cell of 8 nodes
    tpot_ms = { max = 2000 }      # the same, spelled out
    [models.tiny]                 # every cell of one model
    tokens_per_s = { min = 5 }
    [models.tiny.nodes.2]         # one cell; the more special table wins, metric by metric
    bytes_per_token = { min = 1000, max = 20000 }
    [models.tiny.nodes.2.workloads.pp64-tg32]   # a workload of it, as cells' ids end
    [defaults.workloads.pp512]    # every cell whose prompt has 512 tokens
    ttft_s = 30

Knows nothing of pytest.
"""

from __future__ import annotations

import difflib
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Estimate, ThresholdResult, Workload
from pytest_dllama.user_files import SETTINGS_BYTES, read_text

Direction = Literal["max", "min"]


class ThresholdError(ValueError):
    """A thresholds file that cannot be used; the message names file, table and key."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit of one metric."""

    metric: str
    limit: float
    direction: Direction
    source: str  # where it was set: "thresholds.toml [models.tiny]"

    def check(self, estimate: Estimate | None) -> ThresholdResult:
        """Compare the median over the repeats; a missing value fails."""
        value = estimate.value if estimate else None
        return ThresholdResult(
            metric=self.metric,
            limit=self.limit,
            direction=self.direction,
            value=value,
            margin_percent=None if value is None else self._margin_percent(value),
            passed=value is not None and self._holds(value),
            source=self.source,
        )

    def _holds(self, value: float) -> bool:
        return value <= self.limit if self.direction == "max" else value >= self.limit

    def _margin_percent(self, value: float) -> float | None:
        """Room left, in percent of the limit; negative beyond it."""
        if self.limit == 0:
            return None
        room = self.limit - value if self.direction == "max" else value - self.limit
        return 100 * room / abs(self.limit)


_Table = dict[tuple[str, Direction], Threshold]
_Key = tuple[str | None, int | None, str]  # model, nodes, workload; None or "": of all


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All limits of a file; `of(model, nodes)` gives those of one cell."""

    tables: Mapping[_Key, _Table] = field(default_factory=dict)
    file: str = ""  # its name in messages

    def of(self, model: str, nodes: int, workload: Workload | None = None) -> tuple[Threshold, ...]:
        """The limits of one cell, the most special table winning metric by metric."""
        merged: _Table = {}
        names = workload_names(workload or Workload())
        for cell in ((None, None), (None, nodes), (model, None), (model, nodes)):
            for name in names:
                table = self.tables.get((*cell, name), {})
                overridden = {metric for metric, _ in table}
                merged = {k: v for k, v in merged.items() if k[0] not in overridden} | table
        limits = merged.values()
        return tuple(t for t in limits if nodes > 1 or not METRICS[t.metric].needs_peers)

    def models(self) -> frozenset[str]:
        """The models the file names."""
        return frozenset(model for model, _, _ in self.tables if model is not None)

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
        unknown = [model for model in self.models() if model not in models]
        sentences = [_no_such_model(self.file, model, models) for model in sorted(unknown)]
        for (model, nodes, workload), table in self.tables.items():
            if table and workload and workload not in known and model not in unknown:
                sentences.append(_no_such_workload(self.file, model, nodes, workload, workloads))
            elif table and nodes is not None and nodes not in counts and model not in unknown:
                name = "defaults" if model is None else f"models.{model}"
                sentences.append(
                    f"{self.file} [{name}.nodes.{nodes}] limits no cell of this run; it has "
                    f"{', '.join(map(str, counts))} nodes"
                )
        return tuple(sentences)


def load_thresholds(path: Path) -> Thresholds:
    """Read and check a thresholds file.

    Raises:
        ThresholdError: no such file, no TOML, an unknown table or metric, or a limit of a wrong
            kind.
    """
    try:
        data = tomllib.loads(read_text(path, SETTINGS_BYTES))
    except OSError as error:
        raise ThresholdError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # nesting and digits have limits too
        raise ThresholdError(f"{path}: not valid TOML: {error}") from None
    return parse_thresholds(data, path.name)


def parse_thresholds(data: Mapping[str, Any], file: str) -> Thresholds:
    """Check the content of a thresholds file; `file` is its name in messages."""
    _only_known(data, ("defaults", "models"), file, "top level")
    tables: dict[_Key, _Table] = {}
    tables |= _model_tables(None, data.get("defaults", {}), file, "defaults")
    models = _mapping(data.get("models", {}), file, "models")
    for model, content in models.items():
        tables |= _model_tables(model, content, file, f"models.{model}")
    return Thresholds(tables, file)


def _no_such_model(file: str, model: str, models: Sequence[str]) -> str:
    near = difflib.get_close_matches(model, models, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(models)}"
    return f"{file} [models.{model}] limits no cell of this run; {meant}"


def _no_such_workload(
    file: str, model: str | None, nodes: int | None, workload: str, run: Sequence[Workload]
) -> str:
    name = "defaults" if model is None else f"models.{model}"
    name += "" if nodes is None else f".nodes.{nodes}"
    has = [load.suffix.removeprefix("-") for load in run if load.suffix]
    what = f"it has {', '.join(has)}" if has else "it sweeps nothing"
    return f"{file} [{name}.workloads.{workload}] limits no cell of this run; {what}"


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


def _model_tables(model: str | None, content: Any, file: str, name: str) -> dict[_Key, _Table]:
    """A model's own table, those of its node counts, and of either those of workloads."""
    content = dict(_mapping(content, file, name))
    by_nodes = _mapping(content.pop("nodes", {}), file, f"{name}.nodes")
    tables = _workload_tables((model, None), content, file, name)
    for text, limits in by_nodes.items():
        here = f"{name}.nodes.{text}"
        if not text.isdecimal() or int(text) < 1:
            raise ThresholdError(
                f"{file} [{here}]: {text!r} is no node count; use a whole number of 1 or more"
            )
        tables |= _workload_tables((model, int(text)), limits, file, here)
    return tables


def _workload_tables(
    cell: tuple[str | None, int | None], content: Any, file: str, name: str
) -> dict[_Key, _Table]:
    """A table and those of its workloads."""
    content = dict(_mapping(content, file, name))
    by_workload = _mapping(content.pop("workloads", {}), file, f"{name}.workloads")
    tables: dict[_Key, _Table] = {(*cell, ""): _table(content, file, name)}
    for workload, limits in by_workload.items():
        here = f"{name}.workloads.{workload}"
        tables[(*cell, workload)] = _table(_mapping(limits, file, here), file, here)
    return tables


def _table(content: Mapping[str, Any], file: str, name: str) -> _Table:
    _only_known(content, tuple(METRICS), file, f"[{name}]")
    limits = [t for key, value in content.items() for t in _limits(key, value, file, name)]
    return {(limit.metric, limit.direction): limit for limit in limits}


def _limits(metric: str, value: Any, file: str, name: str) -> list[Threshold]:
    """`metric = 3` or `metric = { min = 1, max = 3 }`."""
    where = f"{file} [{name}] {metric}"
    if not isinstance(value, Mapping):
        return [_limit(metric, value, _bad_direction(metric), where)]
    if not value or not set(value) <= {"min", "max"}:
        raise ThresholdError(
            f"{where}: found keys {sorted(value)}; a limit is a number or "
            "{ min = NUMBER, max = NUMBER } with one of the two or both"
        )
    limits = [_limit(metric, v, "max" if k == "max" else "min", where) for k, v in value.items()]
    by_direction = {limit.direction: limit.limit for limit in limits}
    if by_direction.get("min", -math.inf) > by_direction.get("max", math.inf):
        raise ThresholdError(
            f"{where}: min = {by_direction['min']:g} is above max = {by_direction['max']:g}: no "
            "value keeps both; exchange them"
        )
    return limits


def _bad_direction(metric: str) -> Direction:
    """A plain number limits growth, except where more is better."""
    return "min" if METRICS[metric].better == "higher" else "max"


def _limit(metric: str, value: Any, direction: Direction, where: str) -> Threshold:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ThresholdError(
            f"{where}: {value!r} is no number; write the limit in the metric's unit"
        )
    if abs(value) > sys.float_info.max:
        shown = "a number of more than 308 digits" if isinstance(value, int) else f"{value!r}"
        raise ThresholdError(
            f"{where}: {shown} limits nothing; write a finite number in the metric's unit, or "
            "leave the line out"
        )
    file_and_table = where.rsplit(" ", 1)[0]
    return Threshold(metric, float(value), direction, file_and_table)


def marker_thresholds(limits: Mapping[str, Any]) -> tuple[Threshold, ...]:
    """The limits of `@pytest.mark.dllama_threshold(tpot_ms=50)`."""
    return tuple(_table(limits, "marker", "dllama_threshold").values())


def _mapping(value: Any, file: str, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ThresholdError(f"{file} {name}: found {value!r} where a table [{name}] must stand")
    return value


def _only_known(found: Mapping[str, Any], known: tuple[str, ...], file: str, where: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            kind = "metric" if where.startswith("[") else "table"
            raise ThresholdError(f"{file} {where}: unknown {kind} {key!r}; {hint}")


def explain(result: ThresholdResult) -> str:
    """One line for a missed or met threshold.

    >>> t = Threshold("tpot_ms", 50.0, "max", "limits.toml [models.tiny]")
    >>> explain(t.check(Estimate(value=62.5, minimum=60, maximum=63, n=3)))
    'tpot_ms = 62.5 ms, limit <= 50 ms, 25.0 % beyond (limits.toml [models.tiny])'
    """
    unit = METRICS[result.metric].unit.replace("-", "")
    sign = "<=" if result.direction == "max" else ">="
    limit = f"limit {sign} {result.limit:g} {unit}".rstrip()
    if result.value is None:
        return f"{result.metric} was not measured, {limit} ({result.source})"
    value = f"{result.metric} = {result.value:.6g} {unit}".rstrip()
    margin = result.margin_percent
    room = "" if margin is None else f", {abs(margin):.1f} % {'left' if margin >= 0 else 'beyond'}"
    return f"{value}, {limit}{room} ({result.source})"
