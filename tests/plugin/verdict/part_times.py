"""Requests of three ranks whose parts take stated times, and changes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import Attribution
from pytest_dllama.verdict.attribution import attribute

# A decoded token of 10 ms on the root of three ranks, and what the others do meanwhile.
ROOT = {"qkv": 1.0, "attention": 0.5, "feed-forward": 3.0, "exchange-wire": 0.5, "other": 1.0}
WORKER = {"qkv": 1.0, "attention": 0.5, "feed-forward": 3.0}
WAITS = {1: 1.5, 2: 2.5}
TTFT = {"tokenizing": 1.0, "feed-forward": 30.0, "sampling": 1.0, "other": 3.0}
N_TOKENS = 11

Parts = dict[tuple[str, str, int, int | None], float]  # (phase, part, rank, waited for): ms
Change = Callable[[Parts], None]


def sample(change: Change | None = None, noise: float = 0.0, seed: int = 0) -> Sample:
    """One request: parts by (phase, part, rank, waited for) in ms, changed, then noisy."""
    parts: Parts = {}
    for part, ms in ROOT.items():
        parts["decode", part, 0, None] = ms
    for rank in (1, 2):
        parts |= {("decode", part, rank, None): ms for part, ms in WORKER.items()}
    for peer, ms in WAITS.items():
        parts["decode", "exchange-wait", 0, peer] = ms
    for part, ms in TTFT.items():
        parts["prefill", part, 0, None] = ms
    if change is not None:
        change(parts)
    draw = random.Random(seed)
    times = [
        PartTime.model_validate(
            {
                "phase": phase, "part": part, "rank": rank, "waited_for": peer,
                "ms": ms * (1 + draw.gauss(0, noise)),
            }
        )
        for (phase, part, rank, peer), ms in parts.items()
    ]  # fmt: skip
    return of_parts(times)


def of_parts(times: list[PartTime]) -> Sample:
    total = {
        phase: sum(part.ms for part in times if part.rank == 0 and part.phase == phase)
        for phase in ("prefill", "decode")
    }
    rct_ms = total["prefill"] + (N_TOKENS - 1) * total["decode"]
    return Sample(
        n_input_tokens=5, n_output_tokens=N_TOKENS, ttft_s=total["prefill"] / 1e3,
        tpot_ms=total["decode"], rct_s=rct_ms / 1e3, tokens_per_s=N_TOKENS / rct_ms * 1e3,
        prefill_tokens=4, prefill_s=None, decode_tokens=N_TOKENS, decode_s=None, parts=tuple(times),
    )  # fmt: skip


def attributed(metric: str, change: Change, noise: float = 0.002, pairs: int = 5) -> Attribution:
    base = [sample(None, noise, 2 * i) for i in range(pairs)]
    new = [sample(change, noise, 2 * i + 1) for i in range(pairs)]
    return attribute(metric, base, new)


def scaled(part: str, factor: float, rank: int = 0, phase: str = "decode") -> Change:
    def change(parts: Parts) -> None:
        parts[phase, part, rank, None] *= factor

    return change


def slow_rank(rank: int, factor: float, waits_ms: Mapping[int, float]) -> Change:
    def change(parts: Parts) -> None:
        parts["decode", "feed-forward", rank, None] *= factor
        for peer, ms in waits_ms.items():
            parts["decode", "exchange-wait", 0, peer] += ms

    return change


def on_every_rank(waits_ms: Mapping[int, float]) -> Change:
    def change(parts: Parts) -> None:
        for rank in range(3):
            parts["decode", "qkv", rank, None] *= 1.5
        for peer, ms in waits_ms.items():
            parts["decode", "exchange-wait", 0, peer] += ms

    return change


def busy(change: Change, seed: int, waits_ms: float) -> tuple[list[Sample], list[Sample]]:
    """Three pairs on a busy machine: waiting is five times the work and varies by as much."""
    draw = random.Random(seed)

    def of(parts: Parts) -> None:
        for key in parts:
            if key[1] == "exchange-wait":
                parts[key] = draw.uniform(10.0, 20.0)
            else:
                parts[key] *= draw.lognormvariate(0, 0.05)

    def slowed(parts: Parts) -> None:
        of(parts)
        change(parts)
        for peer in WAITS:
            parts["decode", "exchange-wait", 0, peer] += waits_ms

    return [sample(of) for _ in range(3)], [sample(slowed) for _ in range(3)]


def grown(part: str, share: float, *ranks: int) -> Change:
    def change(parts: Parts) -> None:
        for rank in ranks:
            parts["decode", part, rank, None] *= 1 + share

    return change
