"""Where noise comes from: known components are found again, and a session gives figures."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.verdicts.pair_noise.levels import (
    MOST_REQUESTS,
    Levels,
    levels,
    pair_of_medians_sd,
)
from pytest_dllama.record.cell import steady_mean
from tests.data import ROOT


def drawn(request: float, session: float, block: float) -> list[list[list[float]]]:
    """Figures with these standard deviations in ln: 300 blocks, 12 sessions, 6 requests."""
    rng = np.random.default_rng(7)
    of_block = block * rng.standard_normal((300, 1, 1))
    of_session = session * rng.standard_normal((300, 12, 1))
    found: list[list[list[float]]] = np.exp(
        of_block + of_session + request * rng.standard_normal((300, 12, 6))
    ).tolist()
    return found


@pytest.mark.parametrize("sds", [(0.02, 0.05, 0.03), (0.10, 0.01, 0.0), (0.03, 0.0, 0.08)])
def test_components_are_found_again(sds: tuple[float, float, float]) -> None:
    found = levels(drawn(*sds))
    assert found.request == pytest.approx(sds[0], rel=0.05)
    assert found.session == pytest.approx(sds[1], rel=0.2, abs=0.007)
    assert found.block == pytest.approx(sds[2], rel=0.25, abs=0.005)


def test_a_pair_has_the_noise_of_two_sessions_and_their_requests() -> None:
    known = Levels(request=0.04, session=0.03, block=0.5)  # drift falls on both sides of a pair
    assert known.pair_sd() == pytest.approx(2**0.5 * 0.05)
    assert known.pair_sd(4) == pytest.approx((2 * (0.0009 + 0.0004)) ** 0.5)
    assert known.best_requests(session_s=0.9, request_s=0.1) == 4  # 4/3 x 3
    assert known.best_requests(session_s=0.1, request_s=10) == 1
    assert Levels(0.04, 0.0, 0.0).best_requests(1, 1) == MOST_REQUESTS


def test_pairs_of_medians_do_not_mind_a_hiccup_a_session_nor_drift() -> None:
    figures = drawn(0.0, 0.03, 0.5)
    assert pair_of_medians_sd(figures) == pytest.approx(2**0.5 * 0.03, rel=0.05)
    jumping = [[[10 * first, *rest] for first, *rest in sessions] for sessions in figures]
    assert pair_of_medians_sd(jumping) == pytest.approx(pair_of_medians_sd(figures))
    assert levels(jumping).pair_sd(6) > 0.5


def test_what_is_not_balanced_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 blocks with \[1, 2\] sessions"):
        levels([[[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]]])
    with pytest.raises(ValueError, match="each must be above 0"):
        levels([[[1.0, 0.0], [1.0, 2.0]]] * 2)


def test_the_steady_mean_is_of_the_smaller_half() -> None:
    assert steady_mean([2.0, 2.2, 90.0, 700.0]) == pytest.approx(2.1)
    assert steady_mean([5.0]) == 5.0
    assert steady_mean([]) is None


def test_a_session_runs_its_request_again() -> None:
    model = ROOT / "engine/dllama_engine/models/tiny.m"
    command = [sys.executable, "-m", "benchmarks.verdicts.pair_noise.session", "3", "inference"]
    command += ["--model", str(model), "--tokenizer", str(model.with_suffix(".t"))]
    command += ["--prompt", "One morning", "--steps", "12", "--temperature", "0"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=True
    )
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(found) == 3
    assert len({len(request["itl_ms"]) for request in found}) == 1
    assert all(request["ttft_s"] > 0 < min(request["itl_ms"]) for request in found)
