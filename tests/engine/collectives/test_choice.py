"""Which collective the model picks on links of known costs; what ranks agree on over sockets."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from dllama_engine.arrays import Table
from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.cluster.setup import probing
from dllama_engine.cluster.setup.choosing import choose_as_root, choose_as_worker
from dllama_engine.cluster.setup.probing import _LinkProbe, probe
from dllama_engine.collectives.choice import FanCosts, LinkCosts, choose, predicted_s
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.errors import HandshakeError, PlanError
from dllama_engine.sharding.asked import AUTO
from dllama_engine.sharding.collective import Collective, Pick
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.tables.links import NOTHING, ROUTE_WIDTH
from dllama_engine.tables.operations import EXCHANGE
from dllama_engine.wire.frames import SESSION
from dllama_engine.wire.links import Links
from tests.data import ROOT
from tests.engine.ranks import run_ranks

GIGABIT = LinkCosts(round_s=120e-6, message_s=4e-6, byte_s=8.5e-9)
HUNDRED_MEGABIT = LinkCosts(round_s=250e-6, message_s=5e-6, byte_s=85e-9)
BUSY_CORES = LinkCosts(round_s=40e-6, message_s=40e-6, byte_s=1e-10)
SHARED_CORES = LinkCosts(round_s=40e-6, message_s=12e-6, byte_s=1e-9, fan=FanCosts(25e-6, 1e-10))
SLOTS = CoreSlots(0, 1, 1)


def plan(nodes: int, sync_mode: SyncMode = SyncMode.REDUCE, shape: str = "llama-7b") -> ShardPlan:
    return make_plan(parse_shape(shape), nodes, sync_mode=sync_mode, collective=AUTO)


def words(picks: tuple[Pick, ...]) -> list[str]:
    return [str(pick.collective) for pick in picks]


def test_the_model_is_rounds_messages_and_bytes() -> None:
    """By hand, for 4096 values (4352 bytes) among 8 ranks."""
    costs, eight, b = LinkCosts(1e-3, 1e-5, 1e-8), plan(8), 4352
    by_hand = {
        Collective.MESH: 1e-3 + 6e-5 + 7 * b * 1e-8,
        Collective.DOUBLING: 3e-3 + 7 * b * 1e-8,
        Collective.TWO_SHOT: 2 * (1e-3 + 6e-5 + 7 * b / 8 * 1e-8),
        Collective.RING: 14 * (1e-3 + b / 8 * 1e-8),
        Collective.STAR: 2 * (1e-3 + 6e-5 + 7 * b * 1e-8),
        Collective.GATHER_BCAST: 2 * (1e-3 + 6e-5) + (7 + 56) * b * 1e-8,
    }
    assert by_hand.keys() == COLLECTIVES.keys()
    for name, expected in by_hand.items():
        assert predicted_s(costs, eight, name, 1) == pytest.approx(expected), name
    batch = predicted_s(costs, eight, Collective.MESH, 32)
    assert batch == pytest.approx(1e-3 + 6e-5 + 32 * 7 * b * 1e-8)


def test_a_round_to_or_from_one_rank_costs_what_was_probed_of_it() -> None:
    b = 4352
    for nodes in (2, 8):
        others = nodes - 1
        fans = 2 * 25e-6 + (1 + nodes) * others * b * 1e-10
        assert predicted_s(SHARED_CORES, plan(nodes), Collective.GATHER_BCAST, 1) == pytest.approx(
            fans
        )
        mesh = 40e-6 + (others - 1) * 12e-6 + others * b * 1e-9
        assert predicted_s(SHARED_CORES, plan(nodes), Collective.MESH, 1) == pytest.approx(mesh)


@pytest.mark.parametrize(
    ("nodes", "costs", "sync_mode", "expected"),
    [
        (2, GIGABIT, SyncMode.REDUCE, ["mesh"]),
        (4, GIGABIT, SyncMode.REDUCE, ["mesh", "two-shot"]),
        (8, GIGABIT, SyncMode.REDUCE, ["mesh", "two-shot"]),
        (8, HUNDRED_MEGABIT, SyncMode.REDUCE, ["two-shot"]),
        (8, HUNDRED_MEGABIT, SyncMode.INVARIANT, ["mesh"]),
        (8, BUSY_CORES, SyncMode.REDUCE, ["doubling"]),
        (8, BUSY_CORES, SyncMode.INVARIANT, ["doubling"]),
    ],
)
def test_what_is_picked_by_size(
    nodes: int, costs: LinkCosts, sync_mode: SyncMode, expected: list[str]
) -> None:
    choice = choose(costs, plan(nodes, sync_mode), batch_size=32)
    assert words(choice.picks) == expected
    assert choice.picks[0].from_tokens == 1
    assert choice.sizes == (1, 32)


def test_ranks_that_share_cores_hand_everything_over_one_of_them() -> None:
    """In the fewest messages; a second cast is worth it for batches, whose bytes it saves."""
    eight = plan(8, shape="llama-160m")
    choice = choose(SHARED_CORES, eight, batch_size=32)
    assert words(choice.picks) == ["gather-bcast", "star"]
    slices = choose(SHARED_CORES, plan(8, SyncMode.INVARIANT, "llama-160m"), batch_size=32)
    assert words(slices.picks) == ["star"]  # which casts nothing there, and is the same
    without = choose(replace(SHARED_CORES, fan=None), eight, batch_size=32)
    assert words(without.picks) == ["mesh"]


def test_the_table_of_the_docs_is_the_models() -> None:
    """80 exchanges of a 13B model on each switch, in milliseconds."""
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in (ROOT / "docs/network.md").read_text().splitlines()
        if re.match(r"\| (1 Gbit|100 Mbit), \d+, \d+ \|", line)
    ]
    assert len(rows) >= 7
    names = ("mesh", "doubling", "two-shot", "ring", "star", "gather-bcast")
    for case, *cells in rows:
        switch, nodes, tokens = case.split(", ")
        costs = GIGABIT if switch == "1 Gbit" else HUNDRED_MEGABIT
        sharded = plan(int(nodes), shape="llama-13b")
        for name, cell in zip(names, cells, strict=True):
            expected = 80e3 * predicted_s(costs, sharded, Collective(name), int(tokens))
            assert cell == f"{expected:.1f}", (case, name)


def test_the_second_pick_begins_where_it_is_better() -> None:
    four = plan(4)
    first, second = choose(GIGABIT, four, 32).picks
    before, at = (
        predicted_s(GIGABIT, four, second.collective, n)
        / predicted_s(GIGABIT, four, first.collective, n)
        for n in (second.from_tokens - 1, second.from_tokens)
    )
    assert at <= 0.75 < before


def test_a_gain_that_a_probe_cannot_tell_leaves_the_mesh() -> None:
    close = LinkCosts(round_s=40e-6, message_s=14e-6, byte_s=1e-10)
    eight = plan(8)
    gain = predicted_s(close, eight, Collective.DOUBLING, 1) / predicted_s(
        close, eight, Collective.MESH, 1
    )
    assert 0.9 < gain < 1
    assert words(choose(close, eight, 1).picks) == ["mesh"]


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_a_probe_ends_on_every_rank_and_leaves_the_links_in_step(nodes: int) -> None:
    sharded = plan(nodes, shape="tiny-gqa")

    def rank_main(rank: int, links: Links | None) -> LinkCosts:
        assert links is not None
        costs = probe(links, sharded)
        links.exchange(
            SESSION, dict.fromkeys(links.peers, b"x"), {p: bytearray(1) for p in links.peers}
        )
        return costs

    for costs in run_ranks(nodes, rank_main):
        assert costs.round_s > 0
        assert costs.message_s >= 0
        assert costs.byte_s >= 0
        assert costs.fan is not None
        assert costs.fan.round_s > 0
        assert costs.fan.byte_s >= 0


class Stated:
    """Links and threads of a clock of their own: what stretches of a probe take is stated."""

    world_size, rank, peers = 2, 0, (1,)
    table = mesh = np.zeros((2, 8), np.int64)

    def __init__(self, work_s: float, round_s: float) -> None:
        self.work_s, self.round_s = work_s, round_s
        self.now_s, self.full = 0.0, 0
        self.probe = _LinkProbe(self, plan(2, shape="tiny-gqa"), 1)  # type: ignore[arg-type]
        self.probe._team = self  # type: ignore[assignment]

    def routes(self) -> Table:
        return np.full((2, ROUTE_WIDTH), NOTHING, np.int64)

    def exchange(self, op: str, sends: object, recvs: object) -> None:
        """The root says how often."""

    def install(self, table: Table) -> None:
        self.exchanges = table[:, 0] == EXCHANGE

    def run(self, first: int, last: int, tokens: int, attend: object) -> None:
        """Full frames take 3 ms, but every other one waits for two and finds the next there."""
        stretches = self.probe._stretches.items()
        is_full = any(s.first <= first < s.last and "full" in name for name, s in stretches)
        for is_exchange in self.exchanges[first:last]:
            self.full += bool(is_full and is_exchange)
            full_s = 2 * 3e-3 * (self.full % 2)
            took_s = full_s if is_full else self.round_s
            self.now_s += took_s if is_exchange else self.work_s

    def close(self) -> None:
        """Nothing runs."""


@pytest.mark.parametrize("work_s", [0.0, 2e-4])
def test_work_and_a_peer_that_runs_ahead_are_not_taken_for_the_links(
    work_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = Stated(work_s, round_s=1e-3)
    monkeypatch.setattr(probing.time, "perf_counter", lambda: stated.now_s)
    costs = stated.probe.costs()
    assert costs.round_s == pytest.approx(1e-3)
    assert costs.byte_s == pytest.approx(2e-3 / probing.PAYLOAD_BYTES)


@pytest.mark.parametrize("sync_mode", list(SyncMode))
def test_all_ranks_serve_by_what_the_root_chose(sync_mode: SyncMode) -> None:
    open_plan = plan(4, sync_mode, "tiny-gqa")

    def rank_main(rank: int, links: Links | None) -> ShardPlan:
        assert links is not None
        if rank == 0:
            return choose_as_root(open_plan, links, SLOTS, 32)[0]
        return choose_as_worker(open_plan, links, SLOTS, 32)

    plans = run_ranks(4, rank_main)
    assert [found.picks for found in plans] == [plans[0].picks] * 4


def test_what_is_asked_for_by_name_is_not_probed_for() -> None:
    fixed = make_plan(parse_shape("tiny-gqa"), 2, collective=Collective.RING)

    def rank_main(rank: int, links: Links | None) -> int:
        assert links is not None
        if rank == 0:
            assert choose_as_root(fixed, links, SLOTS, 32) == (fixed, None)
        else:
            assert choose_as_worker(fixed, links, SLOTS, 32) == fixed
        return sum(links.totals().sent_messages)

    assert run_ranks(2, rank_main) == [0, 0]


def test_a_choice_that_cannot_be_read_is_refused() -> None:
    open_plan = plan(2, shape="tiny-gqa")

    def rank_main(rank: int, links: Links | None) -> None:
        assert links is not None
        if rank == 0:
            links.send_json(SESSION, 1, {"state": "probing"})
            probe(links, open_plan)
            links.send_json(SESSION, 1, {"picks": [{"from_tokens": 1, "collective": "tree"}]})
        else:
            choose_as_worker(open_plan, links, SLOTS, 32)

    with pytest.raises(
        HandshakeError, match=r"the root's choice of collectives does not fit.*tree"
    ):
        run_ranks(2, rank_main)


def test_a_collective_of_another_name_says_which_there_are() -> None:
    data = plan(2).to_json() | {"collective": "tree"}
    with pytest.raises(PlanError, match="'tree'"):
        ShardPlan.from_json(data)
