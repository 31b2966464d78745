"""Limits between node counts: `4 nodes at least 1.6 x 2 nodes`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.verdict.limits.limit import Direction, ThresholdError

USUAL_METRIC = "tokens_per_s"
FORM = "4 nodes at least 1.6 x 2 nodes, or tpot_ms: 4 nodes at most 0.7 x 2 nodes"
_SENTENCE = re.compile(
    r"(?:(?P<metric>\w+)\s*:\s*)?(?P<nodes>\d+) nodes? at (?P<which>least|most) "
    r"(?P<factor>\d+(?:\.\d+)?) ?[x*] ?(?P<other>\d+) nodes?"
)


@dataclass(frozen=True, slots=True)
class ScalingLimit:
    """A metric on one node count as a multiple of the same on another one."""

    metric: str
    nodes: int
    direction: Direction
    factor: float
    other: int  # node count
    source: str  # file, table and key
    text: str  # as written

    def missed(self, by_nodes: Mapping[int, float]) -> str | None:
        """Why these figures miss it; None where they keep it, or lack one of the node counts."""
        mine, base = by_nodes.get(self.nodes), by_nodes.get(self.other)
        if mine is None or base is None:
            return None
        limit = self.factor * base
        if mine >= limit if self.direction == "min" else mine <= limit:
            return None
        unit = METRICS[self.metric].unit.replace("-", "")
        found = f"{mine / base:.2f} x" if base else "not to be told"
        return (
            f"{self.metric} on {self.nodes} nodes is {mine:.6g} {unit}, {found} that of "
            f"{self.other} nodes ({base:.6g} {unit}); the limit is {self.text!r} ({self.source})"
        )


def parse_scaling(text: object, source: str) -> ScalingLimit:
    """Read one limit.

    >>> parse_scaling("4 nodes at least 1.6 x 2 nodes", "limits.toml [defaults]").factor
    1.6

    Raises:
        ThresholdError: it is no such sentence, of no such metric, or compares a count with itself.
    """
    found = _SENTENCE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ThresholdError(f"{source} scaling: {text!r}: write {FORM}")
    metric = found["metric"] or USUAL_METRIC
    if metric not in METRICS:
        raise ThresholdError(f"{source} scaling: {text!r}: unknown metric {metric!r}; write {FORM}")
    nodes, other = int(found["nodes"]), int(found["other"])
    if nodes == other or 0 in (nodes, other):
        raise ThresholdError(f"{source} scaling: {text!r}: two node counts of 1 or more are needed")
    direction: Direction = "min" if found["which"] == "least" else "max"
    return ScalingLimit(
        metric, nodes, direction, float(found["factor"]), other, source, str(text).strip()
    )
