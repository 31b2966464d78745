"""Pairs of a proof that were not measured: the new side takes so many times as long."""

from __future__ import annotations

from benchmarks.verdicts.proof.journal import AA, Comparison, Condition, Pair
from pytest_dllama.hosts.controller import probe_environment
from pytest_dllama.record.verdict import SideSession

SAME = Condition(stage=AA)


def pair(
    number: int,
    factor: float = 1.0,
    *,
    comparison: str = "c1",
    cell: str = "tiny-2",
    condition: Condition = SAME,
    wobble: float = 0.0,
) -> Pair:
    """A pair whose new side took `factor` times as long, and `wobble` more or less by turns."""
    new = factor * (1 + wobble * (-1) ** number)
    base = 1 + wobble / 10 * (number % 3)  # never the same twice in a row
    times = {"ttft_s": 0.05 * base, "tpot_ms": 10.0 * base, "rct_s": 0.5 * base}
    sessions = (
        SideSession(pair=number, side="base", is_first=True, metrics=dict(times)),
        SideSession(
            pair=number, side="new", is_first=False, metrics={n: t * new for n, t in times.items()}
        ),
    )
    return Pair(
        comparison=comparison, condition=condition, cell=cell, number=number, sessions=sessions,
        wall_s=2.0, load=1.0,
    )  # fmt: skip


def pairs(count: int, factor: float = 1.0, **more: object) -> list[Pair]:
    return [pair(number, factor, wobble=0.01, **more) for number in range(1, count + 1)]  # type: ignore[arg-type]


def comparison(fingerprint: str = "here", steps: int = 64) -> Comparison:
    return Comparison(
        id="c1", created_utc="2026-01-01T00:00:00Z", condition=SAME, cells=("tiny-2",), seed=1,
        steps=steps, prompt="One morning, Mina", revision=None, fingerprint=fingerprint,
        environment=probe_environment(),
    )  # fmt: skip
