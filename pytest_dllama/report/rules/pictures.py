"""What a picture shows, in statements: its alternative text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pytest_dllama.report.figures.quantities import TOKENS_PER_S, TPOT
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.rules import answer, comparison, findings, limits, resources
from pytest_dllama.report.sentences.base import Sentence

MOST_TOLD = 4


def _effects(view: RunView) -> Sequence[Sentence]:
    return [answer.headline(view), *answer.compared(view)]


def _gaps(view: RunView) -> Sequence[Sentence]:
    return answer.slow_gaps(view) or answer.gap_ranges(view)


def _traffic(view: RunView) -> Sequence[Sentence]:
    return [*resources.wire(view), *resources.traffic(view)]


FINDINGS: Mapping[str, Callable[[RunView], Sequence[Sentence]]] = MappingProxyType(
    {
        "ab": _effects,
        "tokens-per-s": lambda view: comparison.best_nodes(view, TOKENS_PER_S),
        "tpot": lambda view: comparison.best_nodes(view, TPOT),
        "token-time": limits.largest_parts,
        "itl": _gaps,
        "itl-distribution": answer.gap_ranges,
        "memory": findings.memory_needs,
        "bytes-per-token": _traffic,
    }
)


def finding(view: RunView, name: str) -> Sequence[Sentence]:
    """The first few statements of what the picture shows."""
    return FINDINGS[name](view)[:MOST_TOLD]
