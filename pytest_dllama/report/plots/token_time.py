"""A token's time by part, a bar for each node count."""

from __future__ import annotations

from pytest_dllama.report.figures.charts import Chart, Series, Stack
from pytest_dllama.report.figures.token_time import TokenTime, token_time
from pytest_dllama.report.figures.view import RunView

SMALL = 0.02  # of its bar: parts that are nowhere larger are drawn together
OTHER = "other"


def by_part(view: RunView) -> Chart | None:
    """The root's mean decode step of every node count."""
    panels = tuple(panel for model in view.models if (panel := _panel(view, model)))
    return Chart("token-time", "nodes", "ms a token", panels) if panels else None


def _panel(view: RunView, model: str) -> Stack | None:
    times = [(n, time) for n in view.node_counts if (time := token_time(view.cell(model, n)))]
    if not times:
        return None
    names = dict.fromkeys(part for _, time in times for part, _ in time.parts)
    large = [name for name in names if name != OTHER and _is_large(name, times)]
    parts = [
        Series(name, tuple(dict(time.parts).get(name, 0.0) for _, time in times)) for name in large
    ]
    rest = tuple(
        time.whole_ms - sum(ms for part, ms in time.parts if part in large) for _, time in times
    )
    if any(ms > 0 for ms in rest):
        parts.append(Series(OTHER, tuple(max(ms, 0.0) for ms in rest)))
    return Stack(model, tuple(str(nodes) for nodes, _ in times), tuple(parts))


def _is_large(name: str, times: list[tuple[int, TokenTime]]) -> bool:
    return any(dict(time.parts).get(name, 0.0) >= SMALL * time.whole_ms for _, time in times)
