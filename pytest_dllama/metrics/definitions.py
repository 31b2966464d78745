"""The definitions of the figures, one function each: plain numbers in, plain numbers out.

Every time is of one monotonic clock on the root. Knows nothing of events, processes or pytest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

from pytest_dllama.record.cell import Estimate

# Fewest samples a percentile needs at confidence 0.99 with no overrun allowed: the binomial rule
# of MLPerf LoadGen.
PERCENTILE_MIN_SAMPLES: dict[int, int] = {50: 7, 90: 44, 95: 90, 99: 459}


def ttft_s(request_ns: int, first_token_ns: int) -> float:
    """Time to first token."""
    return (first_token_ns - request_ns) / 1e9


def rct_s(request_ns: int, last_token_ns: int) -> float:
    """Request completion time."""
    return (last_token_ns - request_ns) / 1e9


def tpot_ms(rct_s: float, ttft_s: float, n_output_tokens: int) -> float | None:
    """Time per output token; None below two output tokens, where it has no meaning."""
    if n_output_tokens < 2:
        return None
    return (rct_s - ttft_s) * 1e3 / (n_output_tokens - 1)


def itl_ms(token_times_ns: Sequence[int]) -> tuple[float, ...]:
    """Gaps between consecutive tokens."""
    return tuple((b - a) / 1e6 for a, b in pairwise(token_times_ns))


def rate_per_s(count: int, seconds: float | None) -> float | None:
    """`count / seconds`; None for a phase that did not take place."""
    if not count or not seconds:
        return None
    return count / seconds


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None when there is no whole."""
    return part / whole if whole > 0 else None


def bandwidth_mbps(moved_bytes: int, busy_us: float) -> float | None:
    """Bytes over the time the link was busy, in Mbit/s (10^6 bits)."""
    return moved_bytes * 8 / busy_us if busy_us > 0 else None


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Nearest-rank percentile (an observed value); None below PERCENTILE_MIN_SAMPLES."""
    if len(values) < PERCENTILE_MIN_SAMPLES[percent]:
        return None
    return nearest_rank(values, percent)


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` percent of the values do not exceed."""
    return sorted(values)[max(math.ceil(percent * len(values) / 100) - 1, 0)]


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Median and range over the repeats that have the figure; None when none has."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return Estimate(
        value=statistics.median(present),
        minimum=min(present),
        maximum=max(present),
        n=len(present),
    )


def median_index(values: Sequence[float]) -> int:
    """Index of the repeat whose value is the median (the lower one of two)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    return order[(len(order) - 1) // 2]
