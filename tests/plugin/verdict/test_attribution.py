"""Where a change sits: shares of parts that add up, by each metric's own parts."""

from __future__ import annotations

import pytest

from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import (
    Attribution,
    CellVerdict,
    MetricVerdict,
)
from pytest_dllama.report.terminal.attribution import attributed as attributed_words
from pytest_dllama.verdict.attribution import attribute, with_attribution
from tests.plugin.verdict.part_times import (
    N_TOKENS,
    ROOT,
    Parts,
    attributed,
    of_parts,
    sample,
    scaled,
)


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
    def change(parts: Parts) -> None:
        for part in ROOT:
            parts["decode", part, 0, None] *= 1.1

    found = attributed("tpot_ms", change, noise=0.0)
    shares = {part.part: part.share for part in found.parts}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert found.unexplained == pytest.approx(0.0, abs=1e-6)
    assert shares["feed-forward"] == pytest.approx(3.0 / 6.0)


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
