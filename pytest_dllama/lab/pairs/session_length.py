"""How many requests the sessions of a cell run, by what is known of its noise and its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_dllama.lab.pairs.cell import PairedCell
from pytest_dllama.lab.pairs.sessions import Session
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.verdict.requests import PairCost, prospects, soonest

START_S = 0.3  # of a root's process, until it loads; only where no session was timed


def warm_cost(sessions: Sequence[Session], pair_s: float, *, run_again: bool) -> PairCost:
    """By sessions that ran side by side, where pairs run in turns.

    Args:
        sessions: one a side.
        pair_s: what both took together, starts included.
        run_again: whether one root runs its request several times.
    """
    root_s = max(session.wall_s for session in sessions)
    again_s = max(_again_s(session.run) for session in sessions)
    return PairCost(pair_s + root_s, again_s if run_again else root_s)


def lone_cost(oracles: Sequence[RequestRun], *, run_again: bool) -> PairCost:
    """Of roots without workers, by the one-node runs that outputs are compared with."""
    again_s = max((_again_s(run) for run in oracles), default=0.0)
    root_s = START_S + again_s
    return PairCost(2 * root_s, again_s if run_again else root_s)


def settle_requests(
    cell: PairedCell,
    asked: int | None,
    cost: PairCost,
    priors: Mapping[int, Mapping[str, VariancePrior]],
    tolerances: Mapping[str, float],
    plan: Plan,
) -> None:
    """Note in the cell how many requests a session has, and what that was chosen from.

    Args:
        cell: which; no pair of it was taken yet.
        asked: so many; None: as many as decide soonest.
        cost: of a pair.
        priors: what is known of the noise, by number of requests and metric.
        tolerances: relative changes, by metric.
        plan: the looks.
    """
    cell.further_s = cost.further_s
    if asked is None:
        cell.prospects = prospects(priors, tolerances, plan, cost)
    cell.requests = asked or soonest(cell.prospects)


def _again_s(run: RequestRun) -> float:
    """What running the request again takes of a root: loading anew, and the request."""
    sample = sample_of(run.trace)
    return (sample.load_s or 0.0) + (sample.rct_s or 0.0)
