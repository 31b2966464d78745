"""From how many tokens on the closed form lets batches overlap, and what it knows of computing."""

from __future__ import annotations

import pytest

from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.cluster.setup.choosing import choose_as_root, choose_as_worker
from dllama_engine.collectives.choice import LinkCosts, choose, rounds_s
from dllama_engine.collectives.overlap import ComputeCosts, batch_s, overlapped
from dllama_engine.errors import PlanError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import row_bytes
from dllama_engine.sharding.asked import AUTO
from dllama_engine.sharding.collective import Collective, Pick, halves_from, with_halves
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.sharding.slices import slice_tensor
from dllama_engine.sharding.work import layer_values
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.wire.links import Links
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import run_ranks

COSTS = LinkCosts(round_s=1e-3, message_s=0.0, byte_s=1e-8)
SLOTS = CoreSlots(0, 1, 1)


def plan(
    overlap: str = AUTO,
    collective: str = Collective.MESH,
    shape: str = "llama-7b",
    nodes: int = 2,
    sync_mode: SyncMode = SyncMode.REDUCE,
) -> ShardPlan:
    return make_plan(
        parse_shape(shape), nodes, collective=collective, overlap=overlap, sync_mode=sync_mode
    )


@pytest.mark.parametrize(
    ("half_ms", "by_hand_ms"),
    [
        (40.0, 2 * 40.0),  # both compute all the time: two exchanges share a layer's work
        (2.0, 2 * (1.0 + 1.0 + 0.69632)),  # a half's work, latency and bytes in a row
        (0.0, 2 * (1.0 + 0.69632)),
    ],
)
def test_the_longest_of_work_and_wire_and_one_half_alone(half_ms: float, by_hand_ms: float) -> None:
    """A layer of 4096 values (4352 bytes) has two exchanges of one round of a millisecond."""
    compute = ComputeCosts(32, whole_s=2e-3 * half_ms, half_s=1e-3 * half_ms)
    whole_s, halves_s = batch_s(COSTS, plan(), compute, 32)
    assert whole_s == pytest.approx(2e-3 * half_ms + 2 * (1e-3 + 32 * 4352e-8))
    assert halves_s == pytest.approx(1e-3 * by_hand_ms)


def test_bytes_of_both_halves_share_the_wire() -> None:
    """And so do further messages; latencies pass side by side."""
    slow = LinkCosts(round_s=1e-3, message_s=1e-4, byte_s=1e-6)
    compute, four = ComputeCosts(32, whole_s=2e-3, half_s=1e-3), plan(nodes=4)
    bytes_s = 3 * 4352 * 16 * 1e-6
    assert batch_s(slow, four, compute, 32)[1] == pytest.approx(2 * 2 * (2e-4 + bytes_s))


def test_a_half_waits_for_all_rounds_of_its_exchange() -> None:
    compute = ComputeCosts(32, whole_s=4e-3, half_s=2e-3)
    shots = plan(collective=Collective.TWO_SHOT)
    rounds = rounds_s(COSTS, shots, Collective.TWO_SHOT, 16)
    assert len(rounds) == 2
    assert batch_s(COSTS, shots, compute, 32)[1] == pytest.approx(2 * (1e-3 + sum(rounds)))


def test_computing_lies_on_a_line_through_what_was_measured() -> None:
    compute = ComputeCosts(32, whole_s=40e-3, half_s=24e-3)
    assert [compute.layer_s(n) for n in (32, 16, 24)] == pytest.approx([40e-3, 24e-3, 32e-3])
    assert ComputeCosts(32, 1e-3, 5e-3).layer_s(1) == 5e-3  # noise: more tokens are never cheaper
    slow = compute.at_least(30e-3)
    assert (slow.whole_s, slow.half_s) == (40e-3, 30e-3)  # a memory that must be read twice


@pytest.mark.parametrize(
    ("half_ms", "expected"),
    [
        (0.0, 6),  # only the bytes of the one behind the latency of the other
        (8.0, 2),
    ],
)
def test_halves_are_picked_from_where_they_win(half_ms: float, expected: int | None) -> None:
    asked, compute = plan(), ComputeCosts(32, 2e-3 * half_ms, 1e-3 * half_ms)
    choice = overlapped(choose(COSTS, asked, 32), asked, compute)
    assert halves_from(choice.picks) == expected
    assert choice.layer_s == batch_s(COSTS, asked, compute, 32)
    if expected is not None:
        for n, wins in ((expected - 1, False), (expected, True)):
            whole_s, halves_s = batch_s(COSTS, asked, compute, n)
            assert (halves_s <= 0.9 * whole_s) == wins


def test_what_was_asked_for_is_not_asked_of_the_model() -> None:
    on, off = (plan(overlap, AUTO) for overlap in ("on", "off"))
    found = overlapped(choose(COSTS, on, 32), on, None)
    assert halves_from(found.picks) == 2
    assert found.layer_s is None
    assert halves_from(overlapped(choose(COSTS, off, 32), off, None).picks) is None
    assert halves_from(plan("on").picks) == 2
    assert halves_from(plan("on", nodes=1).picks) is None  # nothing is sent


def test_halves_and_collectives_are_picked_apart() -> None:
    mesh, shots = Pick(1, Collective.MESH), Pick(9, Collective.TWO_SHOT)
    cut = Pick(9, Collective.TWO_SHOT, True)
    assert with_halves([mesh, shots], 4) == (mesh, Pick(4, Collective.MESH, True), cut)
    assert with_halves([mesh, shots], 9) == (mesh, cut)
    assert with_halves([mesh, shots], 20) == (mesh, shots, Pick(20, Collective.TWO_SHOT, True))
    with pytest.raises(ValueError, match="a single token has no halves"):
        Pick(1, Collective.MESH, True)


def test_a_worker_hears_of_halves() -> None:
    asked = plan("on", shape="tiny-gqa")
    assert ShardPlan.from_json(asked.to_json()) == asked
    older = {name: value for name, value in plan("off").to_json().items() if name != "overlap"}
    assert ShardPlan.from_json(older) == plan("off")
    with pytest.raises(PlanError, match="overlap 'maybe': there are off, on, auto"):
        ShardPlan.from_json(asked.to_json() | {"overlap": "maybe"})


def test_all_ranks_measure_and_serve_by_what_the_root_chose() -> None:
    asked = plan(shape="tiny-gqa", nodes=3)

    def rank_main(rank: int, links: Links | None) -> ShardPlan:
        assert links is not None
        if rank:
            return choose_as_worker(asked, links, SLOTS, 32)
        serving, choice = choose_as_root(asked, links, SLOTS, 32)
        assert choice is not None
        assert choice.layer_s is not None
        whole_s, halves_s = choice.layer_s
        assert halves_s > 0
        assert (halves_from(serving.picks) is None) == (halves_s > 0.9 * whole_s)
        return serving

    plans = run_ranks(3, rank_main)
    assert [found.picks for found in plans] == [plans[0].picks] * 3


@pytest.mark.parametrize("sync_mode", list(SyncMode))
@pytest.mark.parametrize("nodes", [1, 3])
def test_a_layer_multiplies_with_the_weights_that_its_rank_holds(
    nodes: int, sync_mode: SyncMode
) -> None:
    """Matrices of the file, cut for each rank; of a mixture the experts in use."""
    for name in ("llama_f32", "qwen3moe_q40"):
        with ModelFile.open(GOLDEN / f"{name}.m") as model:
            config = model.config
            split = make_plan(config, nodes, sync_mode=sync_mode)
            in_use = config.n_active_experts / config.n_experts if config.is_moe else 1
            matrices = [s for s in model.specs if s.layer == 0 and s.shape[0] > 1]
            for rank in range(nodes):
                held = 0.0
                for spec in matrices:
                    part = slice_tensor(model.raw(spec), spec, split, rank)
                    if part is not None and "gate" not in spec.name:
                        a_value = row_bytes(spec.float_type, 32) / 32
                        held += part.nbytes / a_value * (in_use if spec.expert >= 0 else 1)
                assert layer_values(split, rank) == pytest.approx(held), (name, rank)
