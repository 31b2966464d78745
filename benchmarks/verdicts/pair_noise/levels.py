"""Nested analysis of variance: how much of the noise is of requests, of sessions, and of time.

Figures are balanced: blocks of time, sessions within each, requests within each of those. The
components are the method of moments' (Searle, Casella & McCulloch, Variance Components, 1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Figures = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Levels:
    """Standard deviations of a figure, in ln, by where they come from."""

    request: float  # the same session, asked again
    session: float  # a fresh root and fresh workers
    block: float  # minutes later

    def pair_sd(self, requests: int = 1) -> float:
        """Of a pair of adjacent sessions with the mean of so many requests each.

        Roots that take turns while both are alive have this too: each is a session of its own.
        """
        return math.sqrt(2 * (self.session**2 + self.request**2 / requests))

    def best_requests(self, session_s: float, request_s: float) -> int:
        """Requests a session that give the least variance in a given time, at least 1.

        Minimizes pair_sd^2 (session_s + n request_s): n = sqrt(V_request / V_session x session_s /
        request_s) (Kalibera & Jones 2013).
        """
        if self.session == 0:
            return MOST_REQUESTS
        ratio = (self.request / self.session) ** 2 * session_s / request_s
        return min(max(1, round(math.sqrt(ratio))), MOST_REQUESTS)


MOST_REQUESTS = 100  # more is another workload


def pair_of_medians_sd(figures: Sequence[Sequence[Sequence[float]]]) -> float:
    """Of adjacent sessions' medians over their requests, as a verdict pairs them, in ln.

    The root of the mean square of all differences between neighbours within a block. A median does
    more against single hiccups than `Levels.pair_sd`, which is of means, knows.

    Raises:
        ValueError: as `levels`.
    """
    medians = np.median(_table(figures), axis=2)
    return float(np.sqrt(np.mean(np.diff(medians, axis=1) ** 2)))


def levels(figures: Sequence[Sequence[Sequence[float]]]) -> Levels:
    """The components of figures (blocks, sessions, requests), each above 0.

    Raises:
        ValueError: fewer than 2 of any, another number in one of them, a figure not above 0.
    """
    table = _table(figures)
    _, sessions, requests = table.shape
    session_means, block_means = table.mean(axis=2), table.mean(axis=(1, 2))
    within = float(table.var(axis=2, ddof=1).mean())
    between = requests * float(session_means.var(axis=1, ddof=1).mean())
    over_time = sessions * requests * float(block_means.var(ddof=1))
    return Levels(
        math.sqrt(within),
        math.sqrt(max(between - within, 0.0) / requests),
        math.sqrt(max(over_time - between, 0.0) / (sessions * requests)),
    )


def _table(figures: Sequence[Sequence[Sequence[float]]]) -> Figures:
    sizes = {len(sessions) for sessions in figures}
    counts = {len(requests) for sessions in figures for requests in sessions}
    if len(figures) < 2 or len(sizes) != 1 or len(counts) != 1 or min(sizes | counts) < 2:
        raise ValueError(
            f"{len(figures)} blocks with {sorted(sizes)} sessions of {sorted(counts)} requests: "
            "two or more of each, and as many in every one"
        )
    table = np.asarray(figures, dtype=np.float64)
    if not table.min() > 0:
        raise ValueError(f"a figure of {table.min():g}: each must be above 0")
    return np.log(table)
