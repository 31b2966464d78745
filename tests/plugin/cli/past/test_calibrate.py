"""A/A pairs of a program whose times are stated: what is kept of them, and what is shown."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.cli.past.again import Measuring
from pytest_dllama.config.baseline import comparison_of, parse_calibration
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.noise.calibrations import calibration_of, calibrations
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.verdict import CellVerdict, MetricVerdict, SideSession, VerdictFile
from pytest_dllama.stats.errors import DataError
from tests.plugin.history.stated_dllama import stated_dllama

OPTIONS = [
    *("--engine", "dllama", "--nodes", "1", "--models", "tiny", "--steps", "20"),
    *("-k", "test_tpot", "-p", "no:cacheprovider", "--report-format", "none"),
]


def test_pairs_are_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = stated_dllama(tmp_path, "dllama", 190)
    words = ["calibrate", "6", *OPTIONS, "--dllama-bin", str(program), "--history", "kept"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_dllama.cli", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (cluster,) = (tmp_path / "kept").iterdir()
    (kept,) = calibrations(RunStore(tmp_path / "kept", cluster.name)).entries()
    assert (kept.pairs, kept.engine, kept.cells[0].id) == (6, "dllama", "tiny-1")
    tpot = next(metric for metric in kept.cells[0].metrics if metric.metric == "tpot_ms")
    assert len(tpot.differences) == 6
    assert max(map(abs, tpot.differences)) <= math.log(192 / 190) + 1e-6
    capsys.readouterr()
    assert main(["noise", "--history", str(tmp_path / "kept")]) == 0
    out = capsys.readouterr().out
    assert "6 A/A pairs a cell, 20 steps" in out
    assert "no prior of tpot_ms yet: 19 of 20 groups of pairs are missing" in out
    assert all(line.strip() in done.stdout for line in out.splitlines())
    main(["noise", "--history", str(tmp_path / "kept"), "--format", "json"])
    row = next(r for r in json.loads(capsys.readouterr().out) if r["metric"] == "tpot_ms")
    assert row["pair_sd"] < 0.01
    assert 0.05 < row["detectable_10"] < row["detectable_3"] < 0.1
    assert kept.cells[0].pair_s is not None
    assert row["cost_10_s"] == pytest.approx(10 * kept.cells[0].pair_s)


def verdict(status: str = "PASS", baseline: str = "self") -> VerdictFile:
    metric = {
        "metric": "tpot_ms", "status": "PASS", "tolerance": 0.05, "pairs": 2, "is_provisional": True
    }  # fmt: skip
    fields = MetricVerdict.model_fields.items()
    values = {name: None for name, field in fields if field.is_required()} | metric
    sessions = [
        SideSession(pair=pair, side=side, is_first=side == "base", metrics={"tpot_ms": value})
        for pair, side, value in (
            *((1, "base", 10.0), (1, "new", 11.0), (2, "new", 10.0), (2, "base", 8.0)),
            (3, "base", 9.0),
        )
    ]
    cell = CellVerdict.model_validate(
        {"model": "tiny", "nodes": 2, "status": status, "reasons": ("why",) * (status != "PASS"),
         "metrics": [values], "sessions": sessions, "pairs_s": 24.0}
    )  # fmt: skip
    return VerdictFile.model_validate(
        {"created_utc": "2026-01-01T00:00:00Z", "wall_s": 30.0, "baseline": baseline,
         "base_label": "a", "new_label": "b", "fingerprint": "c", "seed": 1, "looks": (2,),
         "level": 0.05, "prompt": "p", "steps": 20, "prior_groups": 0, "status": status,
         "holm_p": {}, "cells": [cell]}
    )  # fmt: skip


def test_differences_are_of_whole_pairs_in_their_order() -> None:
    found = calibration_of(verdict(), "embedded")
    (metric,) = found.cells[0].metrics
    assert metric.differences == pytest.approx((math.log(1.1), math.log(10 / 8)))
    assert found.pair_s == 10.0  # three pairs were begun
    assert found.cells[0].pair_s == 8.0
    assert found.left_out == ()


def test_sessions_of_several_requests_show_the_noise_of_fewer() -> None:
    old = verdict()
    (cell,) = old.cells
    sessions = [
        SideSession(
            pair=pair, side=side, is_first=side == "base", metrics={"tpot_ms": values[1]},
            requests=tuple({"tpot_ms": value} for value in values),
        )
        for pair, side, values in (
            *((1, "base", (10.0, 8.0, 9.0)), (1, "new", (11.0, 9.0, 8.0))),
            *((2, "new", (10.0, 9.5, 9.0)), (2, "base", (8.0, 9.0, 9.5))),
        )
    ]  # fmt: skip
    several = {"sessions": tuple(sessions), "requests": 3, "further_s": 1.5}
    cells = (cell.model_copy(update=several),)
    found = calibration_of(old.model_copy(update={"cells": cells}), "embedded").cells[0]
    one, three = found.metrics
    assert (one.requests, three.requests) == (1, 3)
    assert one.differences == pytest.approx((math.log(1.1), math.log(10 / 8)))
    assert three.differences == pytest.approx((math.log(9 / 9), math.log(9.5 / 9)))
    assert (found.cost_s(3), found.cost_s(1)) == (12.0, 6.0)  # four requests fewer
    disturbed = found.model_copy(update={"further_s": 9.0})
    assert disturbed.cost_s(1) == 4.0  # its share of the pair, where less would be no time at all


def test_only_valid_a_against_a_calibrates() -> None:
    with pytest.raises(DataError, match="a calibration is A/A: --baseline self, not git:main"):
        calibration_of(verdict(baseline="git:main"), "embedded")
    with pytest.raises(DataError, match="no cell was calibrated: tiny-2: INVALID: why"):
        calibration_of(verdict("INVALID"), "embedded")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("baseline", "git:main", "--baseline git:main"),
        ("bisect", True, "--bisect"),
        ("inject", "tpot=5%", "--inject tpot=5%"),
    ],
)
def test_a_calibration_is_of_the_engine_against_itself(
    option: str, value: object, text: str
) -> None:
    values = {
        "calibrate": 5, "baseline": "self", "bisect": False, "inject": "", "pairs": (3, 5),
        "inconclusive": "warn", "order-seed": None, "requests-per-session": None,
    }  # fmt: skip
    found = comparison_of(values, Path())
    assert found is not None
    assert (found.baseline.kind, found.looks, found.is_calibration) == ("self", (5,), True)
    with pytest.raises(ConfigError, match=f"--calibrate 5 compares .* leave out {text}"):
        comparison_of({**values, option: value}, Path())


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        ("history", "off", "--history off keeps nothing; name a folder with --history DIR"),
        ("pairs", "5", "says how many pairs are taken; leave out --pairs 5"),
    ],
)
def test_what_a_calibration_cannot_have_beside_it(option: str, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"--calibrate 3 .*{why}"):
        LabConfig.of_texts({"calibrate": "3", option: text}, Path())
    LabConfig.of_texts({"calibrate": "0", option: text}, Path())


@pytest.mark.parametrize("text", ["2", "x", "-3", "1.5"])
def test_a_number_of_pairs_that_cannot_be(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="write a number of pairs, 3 or more"):
        parse_calibration(text)
    if not text.startswith("-"):
        assert main(["calibrate", text]) == 2
        assert "write a number of pairs, 3 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--calibrate", "2"), "--calibrate '2': write a number of pairs, 3 or more"),
        (("--calibrate", "x"), "--calibrate 'x': write a number of pairs, 3 or more"),
        (("--pairs", "9,3"), "--pairs 9,3: the first look needs 2 pairs or more"),
    ],
)
def test_a_night_that_cannot_be_is_refused_before_it_begins(
    words: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(Measuring, "suites", lambda *args: pytest.fail("the night began"))
    assert main(["nightly", *words]) == 2
    assert why in capsys.readouterr().err
