"""What `--collective` and `--overlap` say, and what is said of what they cannot say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllama_engine.errors import PlanError
from dllama_engine.sharding.asked import CollectiveOption, OverlapOption
from dllama_engine.sharding.buffers import wire_buffers
from dllama_engine.sharding.collective import Collective, Pick, with_halves
from dllama_engine.sharding.plan import ShardPlan, make_plan
from dllama_engine.synthetic.shapes import parse_shape

MESH, STAR = Collective.MESH, Collective.STAR


@pytest.mark.parametrize(
    ("text", "picks", "written"),
    [
        ("mesh", [(1, MESH)], "mesh"),
        ("mesh,star@13", [(1, MESH), (13, STAR)], "mesh,star@13"),
        ("mesh+star@13", [(1, MESH), (13, STAR)], "mesh,star@13"),
        ("mesh, star@13", [(1, MESH), (13, STAR)], "mesh,star@13"),
        ("mesh@1,star@2,mesh@3", [(1, MESH), (2, STAR), (3, MESH)], "mesh,star@2,mesh@3"),
    ],
)
def test_several_serve_from_so_many_tokens_on(
    text: str, picks: list[tuple[int, Collective]], written: str
) -> None:
    option = CollectiveOption.parse(text)
    assert option.picks() == tuple(Pick(*pick) for pick in picks)
    assert str(option) == written
    assert not option.is_auto


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tree", "'tree': there are auto, mesh, two-shot, star, ring, doubling, gather-bcast"),
        ("Two_Shot", "; did you mean two-shot?"),
        ("mesh,stra@3", "; did you mean star?"),
        ("mesh,star13", "; did you mean star@13?"),
        ("mesh,star=13", "; did you mean star@13?"),
        ("", "collective '': there are auto"),
        ("mesh,", "collective '': there are auto"),
        ("mesh,auto", "auto picks for all batches, and stands alone"),
        ("mesh,star@", "1 to 65535, as in star@13; it is ''"),
        ("mesh,star@x", "1 to 65535, as in star@13; it is 'x'"),
        ("mesh,star@65536", "it is '65536'"),
        ("star@13", "fewer than 13 tokens? write that first, as in mesh+star@13"),
        ("mesh@0", "fewer than 0 tokens"),
        ("mesh,star@9,ring@9", "but 9 stands behind 9; write ring@10 or more"),
        ("mesh,star", "but 1 stands behind 1; write star@2 or more"),
        ("mesh,mesh@9", "mesh@9 changes nothing, as mesh serves already; leave it out"),
    ],
)
def test_what_is_no_list_says_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        CollectiveOption.parse(text)


@pytest.mark.parametrize(
    ("text", "from_tokens"), [("off", 0), ("on", 2), ("on@4", 4), ("on@2", 2), ("auto", None)]
)
def test_halves_from_so_many_tokens_on(text: str, from_tokens: int | None) -> None:
    option = OverlapOption.parse(text)
    assert option.from_tokens == from_tokens
    assert OverlapOption.parse(str(option)) == option


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("maybe", "overlap 'maybe': there are off, on, auto, on@TOKENS"),
        ("4", "; did you mean on@4?"),
        ("from=4", "; did you mean on@4?"),
        ("ON", "; did you mean on?"),
        ("on@1", "a batch in halves has 2 to 65535 tokens; write on@2, which is on, or more"),
        ("on@", "there are off, on, auto, on@TOKENS"),
    ],
)
def test_what_is_no_overlap_says_how_to_write_it(text: str, said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        OverlapOption.parse(text)


@given(
    tokens=st.lists(st.integers(2, 65535), unique=True, max_size=4),
    names=st.lists(st.sampled_from(Collective), min_size=5, max_size=5),
    halves=st.integers(2, 65535) | st.none(),
)
def test_whatever_a_probe_picks_can_be_asked_for(
    tokens: list[int], names: list[Collective], halves: int | None
) -> None:
    served = (Pick(n, name) for n, name in zip([1, *sorted(tokens)], names, strict=False))
    picks = with_halves(list(served), halves) if halves else tuple(served)
    found = CollectiveOption.of(picks), OverlapOption.of(picks)
    collective, overlap = (type(option).parse(str(option)) for option in found)
    assert (collective, overlap) == found
    again = overlap.picks(collective.picks())
    for n in {1, 2, 65535, *tokens, *(n - 1 for n in tokens), halves or 1}:
        assert _serving(again, n) == _serving(picks, n)


def _serving(picks: tuple[Pick, ...], n_tokens: int) -> tuple[Collective, bool]:
    pick = [pick for pick in picks if pick.from_tokens <= n_tokens][-1]
    return pick.collective, pick.in_halves


def test_a_worker_hears_of_all_that_serves_and_has_room_for_it() -> None:
    shape = parse_shape("tiny-gqa")
    several = make_plan(shape, 3, collective="mesh,two-shot@4,ring@9", overlap="on@6")
    assert ShardPlan.from_json(several.to_json()) == several
    assert not several.is_open
    needed = [
        wire_buffers(make_plan(shape, 3, collective=name), 1, 32)
        for name in ("mesh", "two-shot", "ring")
    ]
    for name, buffer in wire_buffers(several, 1, 32).items():
        assert buffer.nbytes == max(each[name].nbytes for each in needed if name in each)


def test_a_settled_plan_asks_for_what_was_picked() -> None:
    shape = parse_shape("tiny-gqa")
    asked = make_plan(shape, 3, collective="auto", overlap="auto")
    assert asked.is_open
    picks = OverlapOption(4).picks([Pick(1, MESH), Pick(13, STAR)])
    assert asked.settled(picks) == make_plan(shape, 3, collective="mesh,star@13", overlap="on@4")
