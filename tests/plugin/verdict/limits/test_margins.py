"""A first thresholds file: readable by the reader, kept by the runs that it is made of."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.history.run_files import read_run, write_run
from pytest_dllama.record.cell import CellRecord, Estimate
from pytest_dllama.record.run import RunRecord
from pytest_dllama.verdict.limits.margins import NothingToLimit, thresholds_text
from pytest_dllama.verdict.limits.thresholds_file import load_thresholds, parse_thresholds
from tests.data import RUNS
from tests.plugin.history.night_runs import slowed


def _run(factor: float = 1.0) -> RunRecord:
    """A stored run with all its times and rates that much longer."""
    run = read_run(sorted(RUNS.glob("schema*.json"))[-1])

    def slower(cell: CellRecord) -> CellRecord:
        metrics = {
            name: Estimate(
                value=e.value * factor if name.endswith(("_s", "_ms")) else e.value,
                minimum=e.minimum, maximum=e.maximum, n=e.n,
            )
            for name, e in cell.metrics.items()
        }  # fmt: skip
        return cell.model_copy(update={"metrics": metrics})

    return run.model_copy(update={"cells": tuple(map(slower, run.cells))})


def _trusted(run: RunRecord) -> list[CellRecord]:
    return [c for c in run.cells if c.verdict and c.verdict.status in ("PASS", "FAIL")]


@pytest.mark.parametrize("n_runs", [1, 3])
def test_the_runs_keep_the_limits_that_are_made_of_them(n_runs: int) -> None:
    runs = [_run(factor) for factor in (1.0, 1.03, 0.98)[:n_runs]]
    text = thresholds_text(runs, ["run.json"])
    found = parse_thresholds(tomllib.loads(text), "limits.toml")
    for run in runs:
        assert _trusted(run)
        for cell in _trusted(run):
            limits = found.of(cell.model, cell.nodes, cell.workload)
            assert {limit.metric for limit in limits} >= {"ttft_s", "tpot_ms", "tokens_per_s"}
            for limit in limits:
                assert limit.check(cell.metrics[limit.metric]).passed, limit


def test_margins_say_whose_noise_they_are() -> None:
    one = thresholds_text([_run()], ["run.json"])
    assert "3 runs or more would tell your own" in one
    several = thresholds_text([_run(f) for f in (1.0, 1.02, 0.97)], ["a", "b", "c"])
    assert "standard deviations of the 3 runs' medians" in several
    assert "3 runs vary by" in several


def test_a_single_sample_says_so() -> None:
    run = _run()
    cells = tuple(c.model_copy(update={"samples": c.samples[:1]}) for c in run.cells)
    text = thresholds_text([run.model_copy(update={"cells": cells})], ["run.json"])
    assert "a single sample, of unknown spread" in text


def test_samples_beyond_reason_make_a_limit_and_no_crash() -> None:
    """A run file may hold any number."""
    run = _run()
    cells = tuple(
        c.model_copy(update={"samples": tuple(
            s.model_copy(update={"tokens_per_s": rate})
            for s, rate in zip(c.samples, (1e308, 1e-300, 1.0), strict=False)
        )})
        for c in run.cells
    )  # fmt: skip
    text = thresholds_text([run.model_copy(update={"cells": cells})], ["run.json"])
    assert parse_thresholds(tomllib.loads(text), "f")


def test_repeats_tell_their_spread_of_rates_too() -> None:
    assert "unknown spread" not in thresholds_text([_run()], ["run.json"])


def test_noisy_runs_get_more_room() -> None:
    quiet = thresholds_text([_run(f) for f in (1.0, 1.001, 0.999)], ["a"])
    noisy = thresholds_text([_run(f) for f in (1.0, 1.2, 0.8)], ["a"])

    def limit(text: str) -> float:
        parsed = parse_thresholds(tomllib.loads(text), "f")
        cell = _trusted(_run())[0]
        return next(t.limit for t in parsed.of(cell.model, cell.nodes) if t.metric == "tpot_ms")

    assert limit(noisy) > limit(quiet)
    assert not math.isclose(limit(noisy), limit(quiet))


def test_nothing_trusted_gives_nothing() -> None:
    run = _run()
    with pytest.raises(NothingToLimit, match="no cell passed, so there is nothing"):
        thresholds_text([run.model_copy(update={"cells": ()})], ["run.json"])


def test_the_command_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(_run(), tmp_path / "run.json")
    out = tmp_path / "limits.toml"
    assert main(["thresholds", "init", str(tmp_path / "run.json"), "-o", str(out)]) == 0
    found = load_thresholds(out)
    assert found.models()
    assert found.tolerances_of("any", 2)["ttft_s"] == 0.15
    assert main(["thresholds", "init", str(tmp_path / "run.json"), "-o", str(out)]) == 2
    assert "limits.toml exists; name another file" in capsys.readouterr().err


def test_a_run_that_was_slowed_down_on_purpose_gives_no_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(slowed(_run(), "tpot=5%"), tmp_path / "run.json")
    assert main(["thresholds", "init", str(tmp_path / "run.json")]) == 2
    assert "was slowed down on purpose (--inject tpot=5%); give runs" in capsys.readouterr().err


def test_runs_of_different_machines_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(_run().model_copy(update={"fingerprint": "a"}), tmp_path / "a.json")
    write_run(_run().model_copy(update={"fingerprint": "b"}), tmp_path / "b.json")
    assert main(["thresholds", "init", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "these runs are of different machines (a, b)" in capsys.readouterr().err
