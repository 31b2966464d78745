"""When a run's phases and tokens were done: by its closing blocks, its lines, its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from pytest_dllama.backends.dllama.printed.run import LoggedRun, StepLine

_TRUNCATION_MS = 2.0  # a step prints two figures, each cut to a whole ms
_PRINT_ERROR_MS = 0.01  # a block prints ms per token with two decimals
WRAP_MS = 2**32 / 1e3  # dllama sums microseconds in 32 bits


@dataclass(frozen=True, slots=True)
class Totals:
    """A run's times, unwrapped; `wraps` tells how often a 32-bit sum had overflowed."""

    prefill_ms: float | None
    decode_ms: float | None
    ttft_ms: float
    rct_ms: float
    is_own_clock: bool  # the fork's Timing block; else sums of forward passes
    wraps: int
    has_steps: bool = True


def _of_blocks_alone(run: LoggedRun) -> Totals | None:
    """Of a paste of the closing blocks: rates and the whole, no single step."""
    blocks = [run.evaluation, run.prediction]
    sums = [block.total_ms if block else None for block in blocks]
    if run.is_old and sums[1] is not None:
        return Totals(None, sums[1], 0.0, sums[1], False, 0, has_steps=False)
    if run.is_old or sums[0] is None or sums[1] is None:
        return None
    own_ms = run.timing_ms.get("totalMs")
    rct_ms = own_ms if own_ms is not None else sums[0] + sums[1]
    ttft_ms = run.timing_ms.get("ttftMs") or sums[0]
    return Totals(sums[0], sums[1], ttft_ms, rct_ms, own_ms is not None, 0, has_steps=False)


def unwrap(printed_ms: float, steps: list[StepLine]) -> tuple[float, int]:
    """A 32-bit sum with its overflows put back, and their number, by the steps it sums up.

    >>> slow = [StepLine("pred", 2_000_000, 500_000, 0, 0, 1)] * 2
    >>> unwrap(5_000_000 - WRAP_MS, slow)
    (5000000.0, 1)
    """
    summed_ms = sum(step.total_ms for step in steps)
    wraps = round((summed_ms - printed_ms) / WRAP_MS)
    if wraps < 1:
        return printed_ms, 0
    whole_ms = printed_ms + wraps * WRAP_MS
    return (whole_ms, wraps) if is_sum(whole_ms, steps) else (printed_ms, 0)


def is_sum(total_ms: float, steps: list[StepLine]) -> bool:
    """Whether a total is that of the steps, as far as their truncation lets one see."""
    slack_ms = _PRINT_ERROR_MS * max(sum(step.n_tokens for step in steps), 1)
    summed_ms = sum(step.total_ms for step in steps)
    return -slack_ms <= total_ms - summed_ms <= _TRUNCATION_MS * len(steps) + slack_ms


def _printed_prefill_ms(run: LoggedRun) -> float | None:
    """By the Evaluation block; where its count is lost, the Eval lines have it too."""
    block = run.evaluation
    if block is not None and block.n_tokens is None:
        block = replace(block, n_tokens=sum(step.n_tokens for step in run.prefill))
    return block.total_ms if block is not None else None


def totals(run: LoggedRun) -> Totals | None:
    """The run's times; None unless its closing blocks are there."""
    if run.prediction is None or run.prediction.total_ms is None:
        return None
    if run.is_tail or run.ends_unprinted or not run.steps:
        return _of_blocks_alone(run)
    if not run.decode:
        return None
    decode_ms, wraps = unwrap(run.prediction.total_ms, run.decode)
    prefill_ms: float | None = None
    if (printed_ms := _printed_prefill_ms(run)) is not None:
        prefill_ms, more = unwrap(printed_ms, run.prefill)
        wraps += more
    first_ms = (prefill_ms or 0.0) + run.decode[0].total_ms
    own_ttft_ms, own_total_ms = run.timing_ms.get("ttftMs"), run.timing_ms.get("totalMs")
    if own_ttft_ms is None or own_total_ms is None:
        rct_ms = (prefill_ms or 0.0) + decode_ms
        return Totals(prefill_ms, decode_ms, min(first_ms, rct_ms), rct_ms, False, wraps)
    missing = max(round(((prefill_ms or 0.0) + decode_ms - own_total_ms) / WRAP_MS), 0)
    return Totals(
        prefill_ms,
        decode_ms,
        own_ttft_ms + max(round((first_ms - own_ttft_ms) / WRAP_MS), 0) * WRAP_MS,
        own_total_ms + missing * WRAP_MS,
        True,
        wraps + missing,
    )


def prefill_ends_ms(steps: Sequence[StepLine], times: Totals) -> list[float]:
    """When each batch of the prompt was done; what the printed ms cut off is after the last."""
    ends: list[float] = []
    for step in steps:
        ends.append((ends[-1] if ends else 0.0) + step.total_ms)
    if ends and times.prefill_ms is not None:
        ends[-1] = max(times.prefill_ms, ends[-2] if len(ends) > 1 else 0.0)
    return ends


def decode_ends_ms(steps: Sequence[StepLine], times: Totals) -> list[float]:
    """When each token was in hand: the first at TTFT, the last at RCT.

    What the printed ms leave out between the two (fractions; sampling, where the engine's clock
    has it) is spread evenly over the gaps.
    """
    gaps_ms = [float(step.total_ms) for step in steps[1:]]
    if not gaps_ms:
        return [times.rct_ms]
    whole_ms = max(times.rct_ms - times.ttft_ms, 0.0)
    rest_ms = whole_ms - sum(gaps_ms)
    if rest_ms >= 0.0:
        gaps_ms = [gap_ms + rest_ms / len(gaps_ms) for gap_ms in gaps_ms]
    else:  # the total was printed with less digits than the steps have together
        gaps_ms = [gap_ms * whole_ms / sum(gaps_ms) for gap_ms in gaps_ms]
    return list(accumulate(gaps_ms, initial=times.ttft_ms))
