"""The work that caused a change, whatever was waited for."""

from __future__ import annotations

import random

import pytest

from pytest_dllama.record.verdict import (
    Cause,
)
from pytest_dllama.verdict.attribution import attribute, changed_work
from tests.plugin.verdict.part_times import (
    WAITS,
    WORKER,
    Change,
    Parts,
    attributed,
    busy,
    grown,
    on_every_rank,
    sample,
    slow_rank,
)


def test_work_that_became_slower_on_every_rank_is_the_roots_own() -> None:
    first = attributed("tpot_ms", on_every_rank({})).parts[0]
    assert (first.part, first.rank, first.change) == ("qkv", 0, pytest.approx(0.5, abs=0.01))


def test_where_ranks_share_cores_the_cause_is_the_work_and_not_the_waiting_for_it() -> None:
    """Whose turn comes later by more work: most of the change is waiting, its cause is the work."""
    found = attributed("tpot_ms", on_every_rank({1: 2.0}))
    assert found.cause is not None
    assert (found.cause.part, found.cause.ranks, found.cause.is_everywhere) == (
        "qkv", (0, 1, 2), True,
    )  # fmt: skip
    assert found.cause.change == pytest.approx(0.5, abs=0.01)
    own, wait = found.parts[:2]
    assert (own.part, own.rank) == ("qkv", 0)
    assert own.share == pytest.approx(0.2, abs=0.02)
    assert (wait.part, wait.waited_for, wait.because_part) == ("exchange-wait", 1, "qkv")
    assert wait.because_change == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("part", "share", "ranks"),
    [
        ("feed-forward", 0.4, (0, 1, 2)),
        ("qkv", 0.8, (0, 1, 2)),
        ("feed-forward", 0.8, (1,)),
        ("feed-forward", 0.8, (1, 2)),
        ("qkv", 1.5, (0,)),
    ],
    ids=str,
)
def test_the_work_is_named_whatever_chance_does_to_the_waiting(
    part: str, share: float, ranks: tuple[int, ...]
) -> None:
    right = 0
    for seed in range(20):
        found = attribute("tpot_ms", *busy(grown(part, share, *ranks), seed, 8.0)).cause
        right += found is not None and (found.part, found.ranks) == (part, ranks)
    assert right >= 19


def test_what_grew_from_next_to_nothing_is_the_cause_of_all_that_it_adds() -> None:
    """Not only of as much as it took before: 0.02 ms that become 1 ms, beside 0.3 of 3 ms."""

    def change(parts: Parts) -> None:
        parts["decode", "sampling", 0, None] = 1.0
        parts["decode", "feed-forward", 0, None] *= 1.1

    def before(parts: Parts) -> None:
        parts["decode", "sampling", 0, None] = 0.02

    base = [sample(before, 0.01, i) for i in range(3)]
    new = [sample(change, 0.01, 10 + i) for i in range(3)]
    for first, second, sign in ((base, new, 1), (new, base, -1)):
        cause = attribute("tpot_ms", first, second).cause
        assert cause is not None
        assert cause.part == "sampling"
        assert cause.effect_ms == pytest.approx(sign * 0.98, rel=0.05)


def test_a_slower_host_is_told_by_all_of_its_work() -> None:
    def throttled(parts: Parts) -> None:
        for part in WORKER:
            parts["decode", part, 2, None] *= 1.3
        parts["decode", "exchange-wait", 0, 2] += 1.35

    cause = attributed("tpot_ms", throttled, noise=0.01).cause
    assert cause is not None
    assert (cause.part, cause.ranks, cause.also) == ("feed-forward", (2,), ("qkv", "attention"))
    alone = attributed("tpot_ms", slow_rank(2, 1.3, {2: 0.9}), noise=0.01).cause
    assert alone is not None
    assert alone.also == ()


def test_waiting_alone_has_no_work_as_its_cause() -> None:
    """A slow link: what waits comes back to colder caches and is a little slower itself."""
    found = [
        attribute("tpot_ms", *busy(grown("feed-forward", 0.03, 0, 1, 2), seed, 80.0))
        for seed in range(20)
    ]
    assert sum(each.cause is None for each in found) >= 19
    assert all(each.parts[0].part == "exchange-wait" for each in found if each.cause is None)


def test_a_root_that_works_longer_waits_less_and_is_the_cause() -> None:
    def change(parts: Parts) -> None:
        parts["decode", "feed-forward", 0, None] *= 2
        for peer in WAITS:
            parts["decode", "exchange-wait", 0, peer] /= 2

    found = attributed("tpot_ms", change)
    assert found.cause is not None
    assert (found.cause.part, found.cause.ranks) == ("feed-forward", (0,))
    assert not found.cause.is_everywhere
    assert found.parts[0].part == "feed-forward"
    assert found.parts[0].share > 1
    assert all(part.because_part is None for part in found.parts)


def test_what_became_faster_on_every_rank_is_the_cause_of_less_time() -> None:
    found = attributed("tpot_ms", grown("feed-forward", -0.3, 0, 1, 2))
    assert found.cause is not None
    assert found.cause.change == pytest.approx(-0.3, abs=0.01)
    assert found.cause.effect_ms == pytest.approx(-0.9, rel=0.05)
    assert found.cause.is_everywhere


def of_noisy_whole(change: Change, seed: int) -> tuple[Cause, ...]:
    draw = random.Random(seed)

    def noisy(parts: Parts) -> None:
        for key in parts:
            sd = 0.2 if key[1] == "exchange-wait" else 0.01
            parts[key] *= draw.lognormvariate(0, sd)

    def changed(parts: Parts) -> None:
        noisy(parts)
        change(parts)

    base, new = [sample(noisy) for _ in range(5)], [sample(changed) for _ in range(5)]
    return changed_work("tpot_ms", base, new, 0.01)


def test_a_small_change_of_the_whole_is_found_in_its_part() -> None:
    """Half a percent of a token that itself varies by 5 %: in five pairs, and named."""
    found = [of_noisy_whole(grown("attention", 0.10, 0, 1, 2), seed) for seed in range(20)]
    firsts = [(works[0].part, works[0].ranks, works[0].is_everywhere) for works in found if works]
    assert firsts == [("attention", (0, 1, 2), True)] * 20
    assert found[0][0].change == pytest.approx(0.10, abs=0.02)
    assert sum(len(works) > 1 for works in found) <= 1
    faster = [of_noisy_whole(grown("attention", -0.10, 1), seed) for seed in range(20)]
    alone = [(works[0].part, works[0].ranks) for works in faster if works]
    assert alone == [("attention", (1,))] * 20
    assert not faster[0][0].is_everywhere
    assert faster[0][0].change == pytest.approx(-0.10, abs=0.02)
    assert sum(bool(of_noisy_whole(lambda parts: None, seed)) for seed in range(20)) <= 1
