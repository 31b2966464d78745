"""A thresholds file from measured runs: limits that their own noise keeps.

A limit must not fail the next run of the same code. How far that may lie off is told by what the
runs themselves scatter: several runs show the nights, one run shows its repeats only, and a single
sample shows nothing. Where nothing is known, what two-core machines were seen to do stands in.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.metrics.repeats import values_of
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord

ENOUGH_RUNS = 3  # before they are said to show the nights
SPREADS = 4  # a limit lies so many standard deviations off
# Of a run's median, in ln: measured on quiet two-core machines it is 3 to 8 % from run to run.
USUAL_SD = 0.08
LEAST_MARGIN = 0.10
_WIDEST = 3.0  # in ln: twenty times the median limits nothing, and more is no number
MEMORY_MARGIN = 0.10
_TIMES = ("ttft_s", "tpot_ms", "rct_s")
LIMITED = (*_TIMES, "tokens_per_s", "prefill_tokens_per_s", "decode_tokens_per_s")
MEMORY = ("root_peak_rss_bytes", "worker_peak_rss_bytes")
EXACT = ("bytes_per_token",)


class NothingToLimit(ValueError):
    """Runs of which no cell gives a limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of the file."""

    metric: str
    text: str  # the value, as TOML
    remark: str


def thresholds_text(runs: Sequence[RunRecord], names: Sequence[str]) -> str:
    """The file.

    Args:
        runs: of the same machines, the newest last.
        names: of their files, for the heading.

    Raises:
        NothingToLimit: no cell has trusted figures.
    """
    cells: dict[str, list[CellRecord]] = {}
    for run in runs:
        for cell in run.cells:
            if cell.status == "ok" and cell.verdict and cell.verdict.status in ("PASS", "FAIL"):
                cells.setdefault(cell.id, []).append(cell)
    if not cells:
        raise NothingToLimit(
            f"{', '.join(names)}: no cell passed, so there is nothing to take limits from; see the "
            "reasons in the report"
        )
    heading = [
        f"# Limits from {', '.join(names)}, made by `pytest-dllama thresholds init`.",
        "# Edit them: they say what the machine does, not what you need.",
        f"# {_about_noise(runs)}",
    ]
    tables = [_table(records) for _, records in sorted(cells.items(), key=_order)]
    return "\n".join([*heading, *(line for table in tables for line in ("", *table)), ""])


def _about_noise(runs: Sequence[RunRecord]) -> str:
    if len(runs) >= ENOUGH_RUNS:
        return f"Margins: {SPREADS} standard deviations of the {len(runs)} runs' medians."
    return (
        f"Margins: {SPREADS} standard deviations; that of medians from run to run is taken as "
        f"{USUAL_SD:.0%} or more, as measured elsewhere. {ENOUGH_RUNS} runs or more would tell "
        "your own."
    )


def _order(item: tuple[str, list[CellRecord]]) -> tuple[str, int, str]:
    cell = item[1][-1]
    return cell.model, cell.nodes, cell.workload.suffix


def _table(records: Sequence[CellRecord]) -> list[str]:
    cell = records[-1]
    name = f"[models.{_key(cell.model)}.nodes.{cell.nodes}"
    load = cell.workload.suffix.removeprefix("-")
    lines = [f"{name}.workloads.{_key(load)}]" if load else f"{name}]"]
    for limit in _limits(records):
        remark = f"  # {limit.remark}" if limit.remark else ""
        lines.append(f"{limit.metric} = {limit.text}{remark}")
    return lines


def _key(name: str) -> str:
    """As TOML writes a key: bare where it may."""
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name)


def _limits(records: Sequence[CellRecord]) -> Iterator[Limit]:
    newest = records[-1]
    for metric in (*LIMITED, *MEMORY, *EXACT):
        values = [r.metrics[metric].value for r in records if metric in r.metrics]
        if not values or min(values) <= 0:
            continue
        middle = statistics.median(values)
        if metric in EXACT:
            text = f"{{ min = {min(values):g}, max = {max(values):g} }}"
            yield Limit(metric, text, "exact")
            continue
        if metric in MEMORY:
            bound = max(values) * (1 + MEMORY_MARGIN)
            yield Limit(metric, _rounded(bound), f"{max(values) / 1e6:.0f} MB measured")
            continue
        margin, why = _margin(values, [v for v in values_of(newest, metric) if v > 0])
        higher = METRICS[metric].better == "higher"
        bound = middle / (1 + margin) if higher else middle * (1 + margin)
        remark = f"{middle:.4g} {METRICS[metric].unit} measured, {margin:.0%} of room: {why}"
        yield Limit(metric, _rounded(bound), remark)


def _margin(medians: Sequence[float], samples: Sequence[float]) -> tuple[float, str]:
    """Relative room of a limit, and whose noise it is."""
    if len(medians) >= ENOUGH_RUNS:
        sd = _sd(medians)
        why = f"{len(medians)} runs vary by {sd:.1%}"
    elif len(samples) >= 2:
        own = _sd(samples)
        sd = max(own / math.sqrt(len(samples)), USUAL_SD)
        why = f"{len(samples)} samples of one run vary by {own:.1%}"
    else:
        sd, why = USUAL_SD, "a single sample, of unknown spread"
    return max(math.expm1(min(SPREADS * sd, _WIDEST)), LEAST_MARGIN), why


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(map(math.log, values))


def _rounded(value: float) -> str:
    """Three digits are enough for a limit, and TOML wants a point or an exponent it knows."""
    return f"{float(f'{value:.3g}'):g}"


def relative_table(tolerances: Mapping[str, float]) -> list[str]:
    """The tolerances of a comparison, as a table to edit."""
    lines = ["[defaults]  # against --baseline: how much worse is tolerated"]
    return [*lines, *(f'{m} = {{ worse = "{t * 100:g}%" }}' for m, t in tolerances.items())]
