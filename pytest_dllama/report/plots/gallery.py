"""Every picture of a run, in the order of the page; one more is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pytest_dllama.report.figures.charts import Chart
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.plots import forest, itl, memory, speed, token_time, traffic

PICTURES: Mapping[str, Callable[[RunView], Chart | None]] = MappingProxyType(
    {
        "ab": forest.effects,
        "tokens-per-s": speed.tokens_per_s,
        "tpot": speed.tpot,
        "token-time": token_time.by_part,
        "itl": itl.over_request,
        "itl-distribution": itl.distribution,
        "memory": memory.memory,
        "bytes-per-token": traffic.bytes_per_token,
    }
)


def charts(view: RunView) -> dict[str, Chart]:
    """What can be drawn of this run, by name."""
    found = {name: of(view) for name, of in PICTURES.items()}
    return {name: chart for name, chart in found.items() if chart is not None}
