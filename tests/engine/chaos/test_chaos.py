"""The short form of the chaos: one cluster, a fault of each kind, and then the reference tokens.

`make chaos` draws 200 of them, holds each to its deadline and lets a root be served after each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.engine.chaos.__main__ import table
from tests.engine.chaos.cluster import ChaosCluster
from tests.engine.chaos.emulated import EmulatedLinks
from tests.engine.chaos.faults import KINDS, Plan, plans

# What happens where, and how the session must end.
FAULTS = (
    (Plan("trickled", (0, 1), "hello", 0, 1), "done"),
    (Plan("truncated", (2, 0), "SESSION", 0, 2), "named"),
    (Plan("oversized", (0, 1), "LOAD", 3, 3), "named"),
    (Plan("kill", (0, 1), "LOAD", 5, 4, victim=1), "named"),
    (Plan("reset", (1, 2), "SYNC_NODE_SLICES", 4, 5), "named"),
    (Plan("garbage", (2, 1), "SYNC_NODE_SLICES", 9, 6), "named"),
    (Plan("duplicated", (2, 0), "SYNC_LOGITS", 1, 7), "named"),
    (Plan("cut", (0, 2), "SYNC_WITH_ROOT", 2, 8), "named"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosCluster]:
    made = ChaosCluster(tmp_path_factory.mktemp("chaos"))
    try:
        made.calibrate()
        yield made
    finally:
        made.close()  # nobody may be left


def test_each_fault_is_met_its_culprit_named_and_the_survivors_serve(cluster: ChaosCluster) -> None:
    for plan, word in FAULTS:
        outcome = cluster.put(plan)
        assert outcome.word == word, (plan, outcome)
    cluster.serve()


def test_a_seed_draws_the_same_faults_again(cluster: ChaosCluster) -> None:
    drawn = [list(islice(plans(seed, cluster.counts), 40)) for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert {plan.kind for plan in drawn[0]} == set(KINDS)
    assert {plan.phase for plan in drawn[0]} == {"handshake", "set-up", "loading", "forward"}
    for plan in drawn[0]:
        assert plan.number < cluster.counts[plan.link, plan.unit]


def test_faults_can_be_put_behind_emulated_links(tmp_path: Path) -> None:
    links = EmulatedLinks(tmp_path, 3)  # the relay must take the network that it is given
    try:
        assert sorted(links.doors) == [1, 2]
    finally:
        links.close()


def test_outcomes_stand_by_kind_and_phase() -> None:
    lines = table(Counter({("cut", "loading", "named"): 2, ("cut", "loading", "done"): 1}))
    assert lines[0] == "| | handshake | set-up | loading | forward |"
    assert lines[2] == "| cut | - | - | 2 named, 1 done | - |"
