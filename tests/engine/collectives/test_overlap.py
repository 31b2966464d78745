"""Overlap, one half of a batch on the wire while the other is computed: same bits, same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.errors import WorkerLost
from dllama_engine.formats.quants import FloatType
from dllama_engine.program.program import Program
from dllama_engine.program.weave import woven
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import SyncMode
from dllama_engine.tables.links import AGAIN, KIND, LEFT_NS, MOVED_NS, UNDER_WAY
from dllama_engine.tables.operations import EXCHANGE, FUNCTION, LANE, PAUSE, POST
from dllama_engine.wire.frames import KINDS, SYNC_NODE_SLICES
from dllama_engine.wire.links import Links
from tests.data import MODELS as GOLDEN
from tests.engine.ranks import CountingRun, ModelRun, run_ranks
from tests.engine.woven import expected, run_woven

IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9]
BATCHES = [5, 1, 2, 1]  # an odd one, single tokens, and the least that has halves
DENSE, MIXED = "llama_q40", "qwen3moe_q40"
RUNS = [
    (2, Collective.MESH, DENSE, SyncMode.REDUCE, FloatType.Q80),
    (3, Collective.MESH, "qwen3_f32", SyncMode.REDUCE, FloatType.F32),
    (4, Collective.MESH, DENSE, SyncMode.INVARIANT, FloatType.Q80),
    (8, Collective.MESH, MIXED, SyncMode.REDUCE, FloatType.Q80),
    (3, Collective.DOUBLING, MIXED, SyncMode.INVARIANT, FloatType.Q80),
    (3, Collective.TWO_SHOT, DENSE, SyncMode.REDUCE, FloatType.Q80),
    (3, Collective.STAR, MIXED, SyncMode.REDUCE, FloatType.Q80),
    (8, Collective.RING, DENSE, SyncMode.REDUCE, FloatType.Q80),
]


@pytest.mark.parametrize(("nodes", "name", "model", "sync_mode", "buffer_type"), RUNS)
def test_halves_change_no_bit_and_no_byte(
    nodes: int, name: Collective, model: str, sync_mode: SyncMode, buffer_type: FloatType
) -> None:
    """By any collective; messages are those of the closed form, twice as many in a cut batch."""
    whole, halves = (
        CountingRun(
            GOLDEN / f"{model}.m", nodes, buffer_type, sync_mode, name,
            in_halves=in_halves, batches=BATCHES, batch_size=6, n_threads=2,
        )
        for in_halves in (False, True)
    )  # fmt: skip
    assert np.array_equal(halves.logits(IDS), whole.logits(IDS))
    steps = [step_traffic(halves.plan, n, n) for n in BATCHES]
    n_cut = sum(n > 1 for n in BATCHES)
    for src, dst in steps[0]:
        messages, payload = halves.sent[src, dst]
        before, same_payload = whole.sent[src, dst]
        control = len(BATCHES) if src == 0 else 0
        assert messages == sum(step[src, dst].messages for step in steps) - control
        in_layers = step_traffic(whole.plan, 1, 0)[src, dst].messages - (src == 0)
        assert (messages - before, payload) == (in_layers * n_cut, same_payload)


@pytest.mark.parametrize("model", [DENSE, MIXED])
def test_one_node_may_compute_in_halves_too(model: str) -> None:
    whole, halves = (
        ModelRun(GOLDEN / f"{model}.m", in_halves=in_halves, batches=BATCHES, batch_size=5)
        for in_halves in (False, True)
    )
    assert np.array_equal(halves.logits(IDS), whole.logits(IDS))


@pytest.mark.parametrize("n", [2, 3])
def test_frames_larger_than_a_socket_takes_hold_nobody_up(n: int) -> None:
    """All send before anybody reads; what is left of a frame goes on beside work, or before it."""
    for rank, both in enumerate(run_ranks(n, run_woven)):
        assert np.array_equal(both, expected(n, rank))


def test_a_peer_that_is_gone_is_named_where_its_frames_are_waited_for() -> None:
    def main(rank: int, links: Links | None) -> str:
        assert links is not None
        if rank == 1:
            return ""  # and closes its links
        with pytest.raises(WorkerLost) as lost:
            run_woven(rank, links)
        return str(lost.value)

    assert "worker 1" in run_ranks(2, main)[0]


def test_who_computes_does_not_wait() -> None:
    """However long ago a posted exchange began: its deadline runs from when it is waited for."""

    def main(rank: int, links: Links | None) -> None:
        assert links is not None
        links.mesh[KIND] = KINDS[SYNC_NODE_SLICES]
        links.mesh[UNDER_WAY], links.mesh[LEFT_NS], links.mesh[MOVED_NS] = 1, 1, 1
        links.settle(AGAIN)
        links.mesh[LEFT_NS] = 0
        links.settle(AGAIN)  # its first look: until then it may have been away itself
        links.mesh[MOVED_NS] -= int(2e9 * links.timeout_s)
        with pytest.raises(WorkerLost, match="SYNC_NODE_SLICES"):
            links.settle(AGAIN)

    run_ranks(2, main)


def test_each_half_goes_out_as_soon_as_it_is_computed() -> None:
    """The order of both lanes: w is work, + posts an exchange, - waits for it."""
    lanes = []
    for lane in (0, 1):
        program = Program(1e-5, 1, 1, lane)
        for _ in range(2):
            program.pause()
            tables = np.zeros((2, 6), np.int64)
            program.exchange(1, tables, tables, tables)
        program.pause()
        lanes.append(program.rows)
    words = {PAUSE: "w", POST: "+", EXCHANGE: "-"}
    order = [
        f"{words[int(row.fields[FUNCTION])]}{'ab'[int(row.fields[LANE])]}" for row in woven(*lanes)
    ]
    assert " ".join(order) == "wa +a wb +b -a wa +a -b wb +b -a wa -b wb"
