"""Where a change sits: shares that add up, waiting followed to the rank that caused it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import (
    AttributedPart,
    Attribution,
    Cause,
    CellVerdict,
    MetricVerdict,
)
from pytest_dllama.report.terminal.attribution import attributed as attributed_words
from pytest_dllama.verdict.attribution import attribute, changed_work, with_attribution

# A decoded token of 10 ms on the root of three ranks, and what the others do meanwhile.
ROOT = {"qkv": 1.0, "attention": 0.5, "feed-forward": 3.0, "exchange-wire": 0.5, "other": 1.0}
WORKER = {"qkv": 1.0, "attention": 0.5, "feed-forward": 3.0}
WAITS = {1: 1.5, 2: 2.5}
TTFT = {"tokenizing": 1.0, "feed-forward": 30.0, "sampling": 1.0, "other": 3.0}
N_TOKENS = 11

Change = Callable[[dict[tuple[str, str, int, int | None], float]], None]


def sample(change: Change | None = None, noise: float = 0.0, seed: int = 0) -> Sample:
    """One request: parts by (phase, part, rank, waited for) in ms, changed, then noisy."""
    parts: dict[tuple[str, str, int, int | None], float] = {}
    for part, ms in ROOT.items():
        parts["decode", part, 0, None] = ms
    for rank in (1, 2):
        parts |= {("decode", part, rank, None): ms for part, ms in WORKER.items()}
    for peer, ms in WAITS.items():
        parts["decode", "exchange-wait", 0, peer] = ms
    for part, ms in TTFT.items():
        parts["prefill", part, 0, None] = ms
    if change is not None:
        change(parts)
    draw = random.Random(seed)
    times = [
        PartTime.model_validate(
            {
                "phase": phase, "part": part, "rank": rank, "waited_for": peer,
                "ms": ms * (1 + draw.gauss(0, noise)),
            }
        )
        for (phase, part, rank, peer), ms in parts.items()
    ]  # fmt: skip
    return of_parts(times)


def of_parts(times: list[PartTime]) -> Sample:
    total = {
        phase: sum(part.ms for part in times if part.rank == 0 and part.phase == phase)
        for phase in ("prefill", "decode")
    }
    rct_ms = total["prefill"] + (N_TOKENS - 1) * total["decode"]
    return Sample(
        n_input_tokens=5, n_output_tokens=N_TOKENS, ttft_s=total["prefill"] / 1e3,
        tpot_ms=total["decode"], rct_s=rct_ms / 1e3, tokens_per_s=N_TOKENS / rct_ms * 1e3,
        prefill_tokens=4, prefill_s=None, decode_tokens=N_TOKENS, decode_s=None, parts=tuple(times),
    )  # fmt: skip


def attributed(metric: str, change: Change, noise: float = 0.002, pairs: int = 5) -> Attribution:
    base = [sample(None, noise, 2 * i) for i in range(pairs)]
    new = [sample(change, noise, 2 * i + 1) for i in range(pairs)]
    return attribute(metric, base, new)


def scaled(part: str, factor: float, rank: int = 0, phase: str = "decode") -> Change:
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        parts[phase, part, rank, None] *= factor

    return change


def by_part(found: Attribution) -> Mapping[tuple[str, str], AttributedPart]:
    return {(part.phase, part.part): part for part in found.parts}


def test_a_part_that_grew_alone_carries_the_change() -> None:
    found = attributed("tpot_ms", scaled("feed-forward", 1.2))
    first = found.parts[0]
    assert (first.phase, first.part, first.rank, first.waited_for) == (
        "decode", "feed-forward", 0, None,
    )  # fmt: skip
    assert first.effect_ms == pytest.approx(0.6, rel=0.05)
    assert first.share == pytest.approx(1.0, abs=0.1)
    assert first.change == pytest.approx(0.2, abs=0.01)
    assert first.is_sure
    assert first.share_lower is not None
    assert first.share_upper is not None
    assert first.share_lower < first.share < first.share_upper
    told = sum(part.share for part in found.parts)
    assert found.unexplained == pytest.approx(1 - told, abs=1e-6)


def test_shares_of_all_parts_are_the_whole() -> None:
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        for part in ROOT:
            parts["decode", part, 0, None] *= 1.1

    found = attributed("tpot_ms", change, noise=0.0)
    shares = {part.part: part.share for part in found.parts}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert found.unexplained == pytest.approx(0.0, abs=1e-6)
    assert shares["feed-forward"] == pytest.approx(3.0 / 6.0)


def slow_rank(rank: int, factor: float, waits_ms: Mapping[int, float]) -> Change:
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        parts["decode", "feed-forward", rank, None] *= factor
        for peer, ms in waits_ms.items():
            parts["decode", "exchange-wait", 0, peer] += ms

    return change


def test_waiting_is_followed_to_the_rank_whose_work_became_slower() -> None:
    found = attributed("tpot_ms", slow_rank(2, 1.31, {2: 0.93}))
    wait = found.parts[0]
    assert (wait.part, wait.rank, wait.waited_for) == ("exchange-wait", 0, 2)
    assert wait.share == pytest.approx(1.0, abs=0.1)
    assert wait.because_part == "feed-forward"
    assert wait.because_change == pytest.approx(0.31, abs=0.02)


def test_the_slow_rank_is_found_though_nobody_saw_whose_message_was_last() -> None:
    """Where ranks share cores, the waiting may be counted for another peer."""
    wait = attributed("tpot_ms", slow_rank(2, 1.31, {1: 0.6, 2: 0.33})).parts[0]
    assert (wait.waited_for, wait.because_part) == (2, "feed-forward")


def test_a_rank_that_became_faster_is_the_cause_of_less_waiting() -> None:
    found = attributed("tpot_ms", slow_rank(1, 0.7, {1: -0.9}))
    wait = found.parts[0]
    assert wait.effect_ms == pytest.approx(-0.9, rel=0.05)
    assert wait.share > 0.9
    assert (wait.waited_for, wait.because_part) == (1, "feed-forward")
    assert wait.because_change == pytest.approx(-0.3, abs=0.02)


@pytest.mark.parametrize(
    ("factor", "because"), [(2.0, "feed-forward"), (1.05, None)], ids=["much", "a little"]
)
def test_work_that_explains_little_is_the_cause_if_it_became_much_slower(
    factor: float, because: str | None
) -> None:
    """On a busy machine waiting is many times what was to be waited for."""
    wait = attributed("tpot_ms", slow_rank(2, factor, {2: 40.0}), noise=0.0001).parts[0]
    assert (wait.waited_for, wait.because_part) == (2, because)


def test_work_that_varies_by_ratios_is_sure_by_ratios() -> None:
    """Three, one and one times twenty: by differences that might be chance."""
    factors = (73.0, 24.0, 28.0)
    base = [sample(None, 0.001, i) for i in range(3)]
    new = [
        sample(slow_rank(1, factor, {1: 3 * factor}), 0.001, 10 + i)
        for i, factor in enumerate(factors)
    ]
    wait = attribute("tpot_ms", base, new).parts[0]
    assert (wait.waited_for, wait.because_part) == (1, "feed-forward")


def test_waiting_that_no_ranks_work_explains_has_a_peer_and_no_cause() -> None:
    wait = attributed("tpot_ms", slow_rank(1, 1.0, {1: 1.0})).parts[0]
    assert (wait.part, wait.waited_for) == ("exchange-wait", 1)
    assert (wait.because_part, wait.because_change) == (None, None)


def on_every_rank(waits_ms: Mapping[int, float]) -> Change:
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        for rank in range(3):
            parts["decode", "qkv", rank, None] *= 1.5
        for peer, ms in waits_ms.items():
            parts["decode", "exchange-wait", 0, peer] += ms

    return change


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


def busy(change: Change, seed: int, waits_ms: float) -> tuple[list[Sample], list[Sample]]:
    """Three pairs on a busy machine: waiting is five times the work and varies by as much."""
    draw = random.Random(seed)

    def of(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        for key in parts:
            if key[1] == "exchange-wait":
                parts[key] = draw.uniform(10.0, 20.0)
            else:
                parts[key] *= draw.lognormvariate(0, 0.05)

    def slowed(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        of(parts)
        change(parts)
        for peer in WAITS:
            parts["decode", "exchange-wait", 0, peer] += waits_ms

    return [sample(of) for _ in range(3)], [sample(slowed) for _ in range(3)]


def grown(part: str, share: float, *ranks: int) -> Change:
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        for rank in ranks:
            parts["decode", part, rank, None] *= 1 + share

    return change


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

    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        parts["decode", "sampling", 0, None] = 1.0
        parts["decode", "feed-forward", 0, None] *= 1.1

    def before(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        parts["decode", "sampling", 0, None] = 0.02

    base = [sample(before, 0.01, i) for i in range(3)]
    new = [sample(change, 0.01, 10 + i) for i in range(3)]
    for first, second, sign in ((base, new, 1), (new, base, -1)):
        cause = attribute("tpot_ms", first, second).cause
        assert cause is not None
        assert cause.part == "sampling"
        assert cause.effect_ms == pytest.approx(sign * 0.98, rel=0.05)


def test_a_slower_host_is_told_by_all_of_its_work() -> None:
    def throttled(parts: dict[tuple[str, str, int, int | None], float]) -> None:
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
    def change(parts: dict[tuple[str, str, int, int | None], float]) -> None:
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


def test_ttft_has_the_parts_until_the_first_token() -> None:
    found = attributed("ttft_s", scaled("tokenizing", 6.0, phase="prefill"))
    assert (found.parts[0].phase, found.parts[0].part) == ("prefill", "tokenizing")
    assert found.parts[0].effect_ms == pytest.approx(5.0, rel=0.05)
    assert {part.phase for part in found.parts} == {"prefill"}


def test_rct_counts_a_part_of_decode_once_a_token() -> None:
    found = attributed("rct_s", scaled("qkv", 1.5))
    first = found.parts[0]
    assert (first.phase, first.part) == ("decode", "qkv")
    assert first.effect_ms == pytest.approx(0.5 * (N_TOKENS - 1), rel=0.05)


def test_a_side_without_spans_makes_both_coarse() -> None:
    def coarse(factor: float) -> list[Sample]:
        return [
            of_parts(
                [
                    PartTime(phase="decode", part="eval", rank=0, ms=4.5 * factor),
                    PartTime(phase="decode", part="sync", rank=0, ms=4.5),
                    PartTime(phase="decode", part="other", rank=0, ms=1.0),
                ]
            )
        ] * 3

    fine = [sample() for _ in range(3)]
    found = attribute("tpot_ms", coarse(1.0), fine)
    assert found.parts == () or {part.part for part in found.parts} <= {"eval", "sync", "other"}
    slower = attribute("tpot_ms", fine, coarse(1.2))
    assert slower.parts[0].part == "eval"
    assert slower.parts[0].effect_ms == pytest.approx(0.9)


def test_nothing_to_say_without_parts_or_pairs() -> None:
    bare = [sample().model_copy(update={"parts": ()})] * 3
    whole = [sample()] * 3
    assert attribute("tpot_ms", bare, whole) == Attribution(metric="tpot_ms")
    assert attribute("tpot_ms", whole[:1], whole[:1]).parts == ()
    assert attribute("root_peak_rss_bytes", whole, whole).parts == ()


@pytest.mark.parametrize(
    ("status", "is_told"),
    [("REGRESSED", True), ("IMPROVED", True), ("PASS", False), ("INCONCLUSIVE", False)],
)
def test_changes_alone_are_attributed(status: str, is_told: bool) -> None:
    verdict = MetricVerdict.model_validate(
        {
            "metric": "tpot_ms", "status": status, "base": 10.0, "new": 11.0, "change": 0.1,
            "lower": 0.05, "upper": 0.15, "pairs": 3, "pair_sd": 0.01, "tolerance": 0.05,
            "pairs_to_decide": 3, "is_provisional": False, "p_worse": 0.01,
            "detectable_change": None,
        }
    )  # fmt: skip
    new = [sample(scaled("qkv", 2.0), 0.001, i) for i in range(3)]
    found = with_attribution(verdict, [sample()] * 3, new)
    assert (found.attribution is not None) is is_told
    assert [work.part for work in found.changed_work] == ([] if is_told else ["qkv"])


def steady(change: float) -> MetricVerdict:
    return MetricVerdict(
        metric="steady_tpot_ms", status="REGRESSED", tolerance=0.05, base=1, new=1, change=change,
        lower=change, upper=change, pairs=3, pair_sd=0.0, detectable_change=None,
        pairs_to_decide=None, is_provisional=True, p_worse=0.0,
    )  # fmt: skip


def test_steady_tpot_has_the_parts_of_tpot_unless_they_went_the_other_way() -> None:
    base = [sample(None, 0.002, 2 * i) for i in range(5)]
    new = [sample(scaled("feed-forward", 1.3), 0.002, 2 * i + 1) for i in range(5)]
    found = with_attribution(steady(+0.09), base, new).attribution
    assert found is not None
    assert (found.metric, found.parts[0].part) == ("tpot_ms", "feed-forward")
    assert with_attribution(steady(-0.09), base, new).attribution == Attribution(
        metric="steady_tpot_ms"
    )


def test_parts_are_told_once_and_as_whose_they_are() -> None:
    base = [sample(None, 0.002, 2 * i) for i in range(5)]
    new = [sample(scaled("feed-forward", 1.3), 0.002, 2 * i + 1) for i in range(5)]
    own = steady(+0.09).model_copy(update={"metric": "tpot_ms"})
    both = tuple(with_attribution(verdict, base, new) for verdict in (own, steady(+0.08)))
    cell = CellVerdict(model="m", nodes=3, status="REGRESSED", metrics=both)
    assert [verdict.metric for verdict in cell.attributed] == ["tpot_ms"]
    alone = cell.model_copy(update={"metrics": both[1:]})
    (told,) = map(attributed_words, alone.attributed)
    assert told is not None
    assert told.startswith("+8.0% steady TPOT: by the parts of TPOT: ")
    assert "feed-forward on rank 0 (30% slower)" in told


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


def of_noisy_whole(change: Change, seed: int) -> tuple[Cause, ...]:
    draw = random.Random(seed)

    def noisy(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        for key in parts:
            sd = 0.2 if key[1] == "exchange-wait" else 0.01
            parts[key] *= draw.lognormvariate(0, sd)

    def changed(parts: dict[tuple[str, str, int, int | None], float]) -> None:
        noisy(parts)
        change(parts)

    base, new = [sample(noisy) for _ in range(5)], [sample(changed) for _ in range(5)]
    return changed_work("tpot_ms", base, new, 0.01)
