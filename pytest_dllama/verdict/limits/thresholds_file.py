"""The thresholds file: its syntax, typed, with precise errors.

[defaults]                    # every cell
ttft_s = 60                   # the limit in the metric's bad direction
tpot_ms = { worse = "5%" }    # against --baseline: what is tolerated
scaling = ["4 nodes at least 1.6 x 2 nodes"]    # between node counts, of tokens_per_s
[defaults.nodes.8]            # every cell of 8 nodes
tpot_ms = { max = 2000 }      # the same as a plain number, spelled out
[models."llama-*"]            # every model of a pattern
tpot_ms = "40 ms"             # with its unit, which must be the metric's
[models.tiny]                 # one model; its own name comes before a pattern
tokens_per_s = { min = 5, worse = "3%" }
[models.tiny.nodes.2]         # one cell; the more special table wins, metric by metric
bytes_per_token = { min = 1000, max = 20000 }
[models.tiny.nodes.2.workloads.pp64-tg32]   # a workload of it, as cells' ids end
[defaults.workloads.pp512]    # every cell whose prompt has 512 tokens
ttft_s = 30
"""

from __future__ import annotations

import difflib
import math
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.verdict.limits.limit import Direction, Threshold, ThresholdError, Tolerance
from pytest_dllama.verdict.limits.scaling import ScalingLimit, parse_scaling
from pytest_dllama.verdict.limits.thresholds import LimitTable, TableKey, Thresholds

_KEYS = ("min", "max", "worse")
_TABLES = ("nodes", "workloads", "scaling")  # what a table may hold beside metrics
# What a unit is in the smallest one of its kind, for a suggestion.
_UNITS: tuple[Mapping[str, float], ...] = (
    {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0},
    {
        "B": 1,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    {"kbit/s": 1e-3, "Mbit/s": 1.0, "Gbit/s": 1e3},
)
_QUANTITY = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9].*?)?\s*")
_PERCENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")


def load_thresholds(path: Path) -> Thresholds:
    """Read and check a thresholds file.

    Raises:
        ThresholdError: no such file, no TOML, an unknown table, metric or unit, or a limit of a
            wrong kind.
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
    tables: dict[TableKey, LimitTable] = {}
    scaling: dict[str | None, tuple[ScalingLimit, ...]] = {}
    models = _mapping(data.get("models", {}), file, "models")
    named: list[tuple[str | None, Any, str]] = [(None, data.get("defaults", {}), "defaults")]
    named += [(model, content, f"models.{model}") for model, content in models.items()]
    for model, raw, name in named:
        content = dict(_mapping(raw, file, name))
        if "scaling" in content:
            scaling[model] = _scaling(content.pop("scaling"), file, name)
        tables |= _model_tables(model, content, file, name)
    return Thresholds(tables, scaling, file)


def marker_thresholds(limits: Mapping[str, Any]) -> tuple[Threshold, ...]:
    """The limits of `@pytest.mark.dllama_threshold(tpot_ms=50)`.

    Raises:
        ThresholdError: no such metric, no limit, or a tolerance, which belongs to a file.
    """
    table = _table(limits, "marker", "dllama_threshold")
    if table.tolerances:
        raise ThresholdError(
            "marker [dllama_threshold]: `worse` belongs to a thresholds file, for a comparison "
            "judges whole cells; give min or max here"
        )
    return tuple(table.limits.values())


def _scaling(value: Any, file: str, name: str) -> tuple[ScalingLimit, ...]:
    texts = value if isinstance(value, list) else [value]
    return tuple(parse_scaling(text, f"{file} [{name}]") for text in texts)


def _model_tables(
    model: str | None, content: dict[str, Any], file: str, name: str
) -> dict[TableKey, LimitTable]:
    """A model's own table, those of its node counts, and of either those of workloads."""
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
) -> dict[TableKey, LimitTable]:
    """A table and those of its workloads."""
    content = dict(_mapping(content, file, name))
    by_workload = _mapping(content.pop("workloads", {}), file, f"{name}.workloads")
    tables: dict[TableKey, LimitTable] = {(*cell, ""): _table(content, file, name)}
    for workload, limits in by_workload.items():
        here = f"{name}.workloads.{workload}"
        tables[(*cell, workload)] = _table(_mapping(limits, file, here), file, here)
    return tables


def _table(content: Mapping[str, Any], file: str, name: str) -> LimitTable:
    _only_known(content, tuple(METRICS), file, f"[{name}]", _TABLES)
    limits: list[Threshold] = []
    tolerances: dict[str, Tolerance] = {}
    for metric, value in content.items():
        where = f"{file} [{name}] {metric}"
        if isinstance(value, Mapping):
            _only_limit_keys(value, where)
            if "worse" in value:
                tolerances[metric] = _tolerance(metric, value["worse"], where)
            limits += _limits(metric, {k: v for k, v in value.items() if k != "worse"}, where)
        else:
            limits.append(_limit(metric, value, _bad_direction(metric), where))
    return LimitTable({(limit.metric, limit.direction): limit for limit in limits}, tolerances)


def _only_limit_keys(value: Mapping[str, Any], where: str) -> None:
    wrong = sorted(key for key in value if key not in _KEYS)
    if value and not wrong:
        return
    near = difflib.get_close_matches(wrong[0], _KEYS, n=1) if wrong else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ThresholdError(
        f"{where}: found keys {sorted(value)}; {hint}a limit is a number or "
        '{ min = NUMBER, max = NUMBER, worse = "5%" } with one of the three or more'
    )


def _limits(metric: str, value: Mapping[str, Any], where: str) -> list[Threshold]:
    """`{ min = 1, max = 3 }`."""
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
    if isinstance(value, str):
        value = _quantity(metric, value, where)
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
    if value < 0:
        raise ThresholdError(
            f"{where}: {value:g} is negative, which {metric} never is; write the limit in the "
            "metric's unit, or leave the line out"
        )
    return Threshold(metric, float(value), direction, _file_and_table(where))


def _quantity(metric: str, text: str, where: str) -> Any:
    """`40 ms` of a metric in ms; what is no number stays text."""
    found = _QUANTITY.fullmatch(text)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        return text
    if found is None:
        return text
    unit, own = found[2] or "", METRICS[metric].unit.replace("-", "")
    if unit in ("", own):
        return number
    converted = next((k[unit] / k[own] for k in _UNITS if unit in k and own in k), None)
    meant = f"did you mean {number * converted:g} {own}?" if converted else f"write {number:g}"
    raise ThresholdError(
        f"{where}: {text!r}: the unit of {metric} is {own or 'none, a share of 1'}; {meant}"
    )


def _tolerance(metric: str, value: Any, where: str) -> Tolerance:
    """`worse = "5%"`."""
    known = METRICS[metric]
    if known.better == "exact":
        raise ThresholdError(
            f"{where}: worse = {value!r}: {metric} is exact, every change of it is reported; "
            "limit it by min and max"
        )
    if known.of_repeat is None:
        raise ThresholdError(
            f"{where}: worse = {value!r}: single sessions have no {metric}, so pairs of them do "
            "not compare it; tolerate a change of tpot_ms"
        )
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        near = f'"{value * 100:g}%"' if isinstance(value, float) and value < 1 else '"5%"'
        raise ThresholdError(f"{where}: worse = {value!r} is no percentage; write worse = {near}")
    return Tolerance(metric, float(found[1]) / 100, _file_and_table(where))


def _file_and_table(where: str) -> str:
    return where.rsplit(" ", 1)[0]


def _mapping(value: Any, file: str, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ThresholdError(f"{file} {name}: found {value!r} where a table [{name}] must stand")
    return value


def _only_known(
    found: Mapping[str, Any],
    known: Sequence[str],
    file: str,
    where: str,
    tables: Sequence[str] = (),
) -> None:
    """Refuse other keys; `tables` may stand beside the known ones and were taken out before."""
    for key, value in found.items():
        if key not in known:
            kind = "metric" if where.startswith("[") else "table"
            names = (*tables, *known) if isinstance(value, Mapping | list) else known
            near = _other_unit(key, known) or difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ThresholdError(f"{file} {where}: unknown {kind} {key!r}; {hint}")


def _other_unit(key: str, known: Sequence[str]) -> list[str]:
    """`tpot_s` means `tpot_ms`: a metric of the same name in its own unit."""
    name, underscore, _ = key.rpartition("_")
    return [metric for metric in known if underscore and metric.rpartition("_")[0] == name]
