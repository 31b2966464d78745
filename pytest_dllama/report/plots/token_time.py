"""A token's time by part, a bar for each node count."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dllama.metrics.parts import OTHER, PARTS
from pytest_dllama.report.figures.charts import Chart, Series, Stack
from pytest_dllama.report.figures.token_time import COMPUTE, SYNC, TokenTime, token_time
from pytest_dllama.report.figures.view import RunView

SMALL = 0.02  # of its bar: parts that are nowhere larger are drawn together
ORDER = {part: place for place, part in enumerate((COMPUTE, SYNC, *PARTS))}

Times = list[tuple[int, TokenTime]]


def by_part(view: RunView) -> Chart | None:
    """The root's mean decode step of every node count; all models in the same parts."""
    found: dict[str, Times] = {}
    for model in view.models:
        times = [(n, time) for n in view.node_counts if (time := token_time(view.cell(model, n)))]
        if times:
            found[model] = times
    parts = _large_parts(time for times in found.values() for _, time in times)
    panels = tuple(_panel(model, times, parts) for model, times in found.items())
    return Chart("token-time", "nodes", "ms a token", panels) if panels else None


def _large_parts(times: Iterable[TokenTime]) -> list[str]:
    """Parts that are worth a colour, in the order of a step."""
    large = {
        part
        for time in times
        for part, ms in time.parts
        if part != OTHER and ms >= SMALL * time.whole_ms
    }
    return sorted(large, key=lambda part: (ORDER.get(part, len(ORDER)), part))


def _panel(model: str, times: Times, names: list[str]) -> Stack:
    parts = [
        Series(name, tuple(dict(time.parts).get(name, 0.0) for _, time in times)) for name in names
    ]
    rest = [sum(ms for part, ms in time.parts if part not in names) for _, time in times]
    if any(ms > 1e-9 for ms in rest):
        parts.append(Series(OTHER, tuple(max(ms, 0.0) for ms in rest)))
    used = tuple(part for part in parts if any(part.values))
    return Stack(model, tuple(str(nodes) for nodes, _ in times), used)
