"""What pairs teach of the noise, and how many are taken by what is known of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.stats.prior import MIN_GROUPS, VarianceGroup
from pytest_dllama.verdict.limits.limit import TOLERANCES
from pytest_dllama.verdict.regression import DISTURBED
from tests.plugin.lab.pairs.stated_duet import compare
from tests.plugin.lab.pairs.stated_times import StatedTimes


def test_as_many_requests_as_decide_soonest_are_taken_by_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of an engine that takes a new root for each request, which pairs of one are rarely worth.
    monkeypatch.setattr("pytest_dllama.verdict.requests.DEAREST", 9.0)
    priors = NoisePriors(tmp_path / "history", "test")
    for requests, sd in ((1, 0.3), (3, 0.01)):
        groups = [VarianceGroup(2, sd**2)] * MIN_GROUPS
        priors.add(dict.fromkeys(TOLERANCES, groups), requests)
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0), looks=(2,), requests=None)
    assert cell.requests == 3
    one, three = cell.prospects
    assert (one.requests, three.requests, three.pairs) == (1, 3, 2)
    assert one.seconds > three.seconds
    assert {verdict.is_provisional for verdict in cell.metrics} == {False}  # that of three is known


def test_variances_of_valid_pairs_are_kept(tmp_path: Path) -> None:
    compare(tmp_path, StatedTimes(1.0), StatedTimes(1.3))
    priors = NoisePriors(tmp_path / "history", "test")
    assert [group.df for group in priors.groups("tpot_ms")] == [2]
    broken = "import sys; sys.exit(1)"
    compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0, program=broken))
    assert len(priors.groups("tpot_ms")) == 1


def test_what_was_slowed_down_on_purpose_teaches_nothing(tmp_path: Path) -> None:
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.3), looks=(3,), inject="tpot=30%")
    assert cell.status == "REGRESSED"
    assert NoisePriors(tmp_path / "history", "test").groups("tpot_ms") == []


# Gaps of 5 and of 20 ms in turns: each pair agrees, and its tokens say that this is by chance.
BUSY = """
for i in range(40):
    print("token", 50.001237 if i == 0 else 20.000731 if i // 3 % 2 else 5.000731, "la")
"""


@pytest.mark.parametrize("is_calibration", [False, True], ids=["compared", "calibrated"])
def test_a_busier_machine_teaches_the_prior_only_if_it_is_calibrated(
    tmp_path: Path, is_calibration: bool
) -> None:
    priors = NoisePriors(tmp_path / "history", "test")
    quiet = [VarianceGroup(2, 0.01**2)] * MIN_GROUPS
    priors.add(dict.fromkeys(TOLERANCES, quiet))
    sides = [StatedTimes(1.0, program=BUSY) for _ in range(2)]
    cell, _ = compare(tmp_path, *sides, looks=(3,), is_calibration=is_calibration)
    assert {verdict.metric: verdict.note for verdict in cell.metrics}["tpot_ms"] == DISTURBED
    for metric in TOLERANCES:
        assert len(priors.groups(metric)) == MIN_GROUPS + is_calibration
