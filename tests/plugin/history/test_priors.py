"""What is kept of a cluster's noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.stats.prior import MIN_GROUPS, VarianceGroup


def groups(n: int, variance: float = 4e-4) -> list[VarianceGroup]:
    return [VarianceGroup(2, variance * (1 + i % 3)) for i in range(n)]


def test_enough_groups_make_a_prior(tmp_path: Path) -> None:
    priors = NoisePriors(tmp_path, "local-2x-cpu")
    priors.add({"tpot_ms": groups(MIN_GROUPS - 1)})
    assert priors.prior("tpot_ms") is None
    priors.add({"tpot_ms": groups(1), "ttft_s": groups(1)})
    found = priors.prior("tpot_ms")
    assert found is not None
    assert found.groups == MIN_GROUPS
    assert priors.prior("ttft_s") is None


def test_clusters_are_apart(tmp_path: Path) -> None:
    NoisePriors(tmp_path, "one").add({"tpot_ms": groups(3)})
    assert NoisePriors(tmp_path, "other").groups("tpot_ms") == []
    NoisePriors(tmp_path, "../../evil").add({"tpot_ms": groups(1)})
    assert {path.parent.parent.name for path in tmp_path.rglob("*.json")} == {"one", ".._.._evil"}


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    priors = NoisePriors(tmp_path, "x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: priors.add({"rct_s": groups(2)}), range(40)))
    assert len(priors.groups("rct_s")) == 80


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema_version": 99}', '{"schema_version": 1, "groups": 3}',
             '{"schema_version": 1, "groups": {"rct_s": [[0, -1]]}}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_is_passed_over(tmp_path: Path, text: str) -> None:
    priors = NoisePriors(tmp_path, "x")
    kept = priors.add({"rct_s": groups(2)})
    assert kept is not None
    kept.with_name("damaged.json").write_text(text)
    assert len(priors.groups("rct_s")) == 2


def test_nothing_to_keep_leaves_no_file(tmp_path: Path) -> None:
    assert NoisePriors(tmp_path, "x").add({"rct_s": []}) is None
    assert list(tmp_path.rglob("*.json")) == []


def test_noise_of_another_number_of_requests_is_no_prior(tmp_path: Path) -> None:
    priors = NoisePriors(tmp_path, "x")
    priors.add({"tpot_ms": groups(MIN_GROUPS)})
    file = priors.add({"tpot_ms": groups(MIN_GROUPS, 1e-4)}, 3)
    one, three = priors.prior("tpot_ms"), priors.prior("tpot_ms", 3)
    assert one is not None
    assert three is not None
    assert one.s0 == pytest.approx(2 * three.s0)
    assert priors.prior("tpot_ms", 5) is None
    assert file is not None
    assert '"schema_version": 2' in file.read_text()  # who reads 1 only passes it over
