"""Rounds of every collective on paper: all arrives, and the closed forms count the frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.collectives.base import Collective, Round, Traffic
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.collective import Collective as Name
from dllama_engine.sharding.plan import reduce_chunks

NAMES = list(Name)
SIZES = st.lists(st.sampled_from([0, 34, 68, 340]), min_size=2, max_size=11)


def counted(rounds: list[Round], sizes: list[int]) -> dict[tuple[int, int], Traffic]:
    """What the frames of the rounds add up to on each link; an empty frame is not sent."""
    flow: dict[tuple[int, int], Traffic] = {}
    for moves in rounds:
        for move in moves:
            n_bytes = sum(sizes[(move.first + i) % len(sizes)] for i in range(move.count))
            before = flow.get((move.src, move.dst), Traffic(0, 0))
            flow[move.src, move.dst] = before + Traffic(int(n_bytes > 0), n_bytes)
    return flow


def test_every_name_has_its_collective() -> None:
    assert sorted(COLLECTIVES) == sorted(NAMES)
    assert all(one.name is name for name, one in COLLECTIVES.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", range(2, 12))
def test_a_gather_brings_every_block_to_every_rank(name: Name, n: int) -> None:
    """Nobody hands on what it does not hold yet, nor in two pieces of memory."""
    collective = COLLECTIVES[name]
    held = [{rank} for rank in range(n)]
    for moves in collective.gather_rounds(n):
        before = [set(blocks) for blocks in held]
        assert len({(move.src, move.dst) for move in moves}) == len(moves)  # one frame a link
        for move in moves:
            blocks = [(move.first + i) % n for i in range(move.count)]
            assert before[move.src].issuperset(blocks)
            held[move.dst].update(blocks)
            for rank in (move.src, move.dst):
                places = [(b - collective.first_block(rank, n)) % n for b in blocks]
                assert places == list(range(places[0], places[0] + len(places)))
    assert held == [set(range(n))] * n


@pytest.mark.parametrize("name", [name for name in NAMES if name.scatters])
@pytest.mark.parametrize("n", range(2, 12))
def test_a_scatter_adds_every_rank_to_every_sum_once(name: Name, n: int) -> None:
    collective = COLLECTIVES[name]
    in_sum = [[[rank] for _ in range(n)] for rank in range(n)]  # [rank][block]: whose parts
    for moves in collective.scatter_rounds(n):
        sent = [(m.dst, m.first, list(in_sum[m.src][m.first])) for m in moves]
        for dst, block, parts in sent:
            in_sum[dst][block] += parts
    owners = range(n) if name is not Name.STAR else [0]
    for rank in owners:
        assert sorted(in_sum[rank][rank]) == list(range(n))


@pytest.mark.parametrize("name", NAMES)
@given(sizes=SIZES)
def test_the_closed_form_of_a_gather_counts_its_frames(name: Name, sizes: list[int]) -> None:
    collective = COLLECTIVES[name]
    expected = counted(list(collective.gather_rounds(len(sizes))), sizes)
    assert nonzero(collective.gather_flow(sizes)) == nonzero(expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [64, 288, 4096])
@pytest.mark.parametrize("n", range(2, 12))
def test_the_closed_form_of_a_sum_counts_its_frames(name: Name, n: int, dim: int) -> None:
    collective = COLLECTIVES[name]
    chunks = [chunk.size // 32 * 34 for chunk in reduce_chunks(dim, n, name)]
    whole = dim // 32 * 34
    expected = sum_by_frames(collective, whole, chunks)
    assert nonzero(collective.reduce_flow(whole, chunks)) == nonzero(expected)


def sum_by_frames(
    collective: Collective, whole: int, chunks: list[int]
) -> dict[tuple[int, int], Traffic]:
    n = len(chunks)
    if not collective.scatter_rounds(n):
        return counted(list(collective.gather_rounds(n)), [whole] * n)
    flow = counted(list(collective.scatter_rounds(n)), chunks)
    for ends, more in counted(list(collective.gather_rounds(n)), chunks).items():
        flow[ends] = flow.get(ends, Traffic(0, 0)) + more
    return flow


def nonzero(flow: object) -> dict[tuple[int, int], Traffic]:
    return {ends: t for ends, t in dict(flow).items() if t.messages}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "messages", "most_bytes"),
    [
        ("mesh", 56, 7),
        ("doubling", 24, 7),
        ("two-shot", 112, 1.75),
        ("ring", 112, 1.75),
        ("star", 14, 7),
        ("gather-bcast", 14, 56),
    ],
)
def test_what_eight_ranks_send(name: str, messages: int, most_bytes: float) -> None:
    """Messages of all ranks, and vectors that the busiest one sends, of a sum over eight."""
    whole = 4096 // 32 * 34
    chunks = [chunk.size // 32 * 34 for chunk in reduce_chunks(4096, 8, Name(name))]
    flow = COLLECTIVES[Name(name)].reduce_flow(whole, chunks)
    assert sum(t.messages for t in flow.values()) == messages
    sent = [sum(t.payload_bytes for (src, _), t in flow.items() if src == r) for r in range(8)]
    assert max(sent) == most_bytes * whole
