"""A new run against a stored one: what it takes before it says anything."""

from __future__ import annotations

import math

import pytest

from pytest_dllama.record.cell import CellRecord, Estimate, Sample
from pytest_dllama.report.terminal.verdict import effect, explained
from pytest_dllama.verdict.stored import StoredSide, judge_stored

TOLERANCES = {"tpot_ms": 0.05}
QUIET = [10 * math.exp(0.005 * (-1) ** night) for night in range(14)]


def _cell(*tpot_ms: float) -> CellRecord:
    samples = tuple(
        Sample(
            n_input_tokens=4, n_output_tokens=9, ttft_s=0.05, tpot_ms=value, rct_s=0.2,
            tokens_per_s=45.0, prefill_tokens=3, prefill_s=0.04, decode_tokens=8, decode_s=0.08,
        )
        for value in tpot_ms
    )  # fmt: skip
    return CellRecord(model="tiny", nodes=2, status="ok", samples=samples)


STORED = _cell(10.0, 10.05, 9.98)


@pytest.mark.parametrize(
    ("new", "status"),
    [
        (_cell(10.02, 9.99, 10.01), "PASS"),
        (_cell(12.0, 12.1, 11.9), "REGRESSED"),
        (_cell(8.0, 8.1, 7.9), "IMPROVED"),
    ],
)
def test_with_known_nights_it_is_judged(new: CellRecord, status: str) -> None:
    (found,) = judge_stored(StoredSide(STORED, {"tpot_ms": QUIET}), new, TOLERANCES, {})
    assert (found.status, found.is_paired, found.pairs) == (status, False, 3)
    assert "unpaired, 3 stored and 3 new sessions of different nights; nights differ by 0.5%" in (
        explained(found)
    )


def test_without_known_nights_nothing_is_said() -> None:
    new = _cell(20.0, 20.1, 19.9)
    (found,) = judge_stored(StoredSide(STORED, {"tpot_ms": QUIET[:9]}), new, TOLERANCES, {})
    assert (found.status, found.lower, found.upper) == ("INCONCLUSIVE", None, None)
    assert found.change == pytest.approx(1.0, abs=0.01)
    assert effect(found).endswith("% (no bounds)")
    words = explained(found)
    assert "it takes 10 runs of the same work in the history, 9 are there" in words
    assert "pairs (--baseline git:REV) need none" in words


def test_rates_and_steady_tpot_are_judged_too() -> None:
    """A thresholds file may name any metric of single sessions."""
    steady = {"itl_ms": (10.0, 10.1, 9.9, 10.0)}
    base, new = (
        cell.model_copy(
            update={"samples": tuple(s.model_copy(update=steady) for s in cell.samples)}
        )
        for cell in (STORED, _cell(10.02, 9.99, 10.01))
    )
    wanted = {"steady_tpot_ms": 0.05, "decode_tokens_per_s": 0.03}
    found = judge_stored(StoredSide(base, dict.fromkeys(wanted, QUIET)), new, wanted, {})
    assert {verdict.metric: verdict.status for verdict in found} == dict.fromkeys(wanted, "PASS")


def test_a_metric_without_sessions_in_run_files_is_open_and_not_forgotten() -> None:
    sides = [
        cell.model_copy(
            update={"metrics": {"sync_share": Estimate(value=v, minimum=v, maximum=v, n=3)}}
        )
        for cell, v in ((STORED, 0.2), (_cell(10.0, 10.0), 0.9))
    ]
    (found,) = judge_stored(StoredSide(sides[0], {}), sides[1], {"sync_share": 0.1}, {})
    assert (found.status, found.base, found.new) == ("INCONCLUSIVE", 0.2, 0.9)
    words = explained(found)
    assert "a run file has no single sessions of it; pairs (--baseline git:REV) compare it" in words


def test_single_sessions_are_not_compared() -> None:
    assert judge_stored(StoredSide(_cell(10.0), {}), STORED, TOLERANCES, {}) == ()
