"""A against B: real processes, their times stated by themselves, so that verdicts are exact."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.baseline import parse_baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.lab.pairs.duet import PairTaken
from pytest_dllama.lab.pairs.making import make_sides
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.terminal.verdict import verdict_lines
from pytest_dllama.verdict.limits.limit import TOLERANCES
from tests.plugin.lab.pairs.stated_duet import compare
from tests.plugin.lab.pairs.stated_times import PROGRAM, StatedTimes


@pytest.mark.parametrize(
    ("factor", "status"), [(1.0, "PASS"), (1.3, "REGRESSED"), (0.7, "IMPROVED")]
)
def test_a_stated_change_is_judged(tmp_path: Path, factor: float, status: str) -> None:
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(factor))
    assert cell.status == status
    for verdict in cell.metrics:
        assert verdict.change == pytest.approx(factor - 1, abs=1e-5)
        assert verdict.pairs == 3  # decided at the first look: no more pairs are taken
    assert {verdict.metric for verdict in cell.metrics} == set(TOLERANCES)
    assert cell.same_tokens is not False


# Its n-th session: a first token that varies, and gaps that are 30 % longer in the first few.
CHANGING = """
import pathlib, sys
at = pathlib.Path(sys.argv[2])
n = len(at.read_text()) if at.exists() else 0
at.write_text("x" * (n + 1))
for i in range(9):
    print("token", (50.0 + 20.0 * (-1) ** n) if i == 0 else 13.000731 if n < 4 else 10.000731, "la")
"""


def test_a_metric_keeps_what_an_earlier_look_said(tmp_path: Path) -> None:
    new = StatedTimes(1.0, str(tmp_path / "sessions"), CHANGING)
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3, 5))
    found = {verdict.metric: verdict for verdict in cell.metrics}
    assert (found["tpot_ms"].status, found["tpot_ms"].pairs) == ("REGRESSED", 3)
    assert (found["ttft_s"].status, found["ttft_s"].pairs) == ("INCONCLUSIVE", 5)
    assert cell.status == "REGRESSED"


# Its n-th run: every third one takes three times as long.
HICCUP = """
import pathlib, sys
at = pathlib.Path(sys.argv[2])
n = len(at.read_text()) if at.exists() else 0
at.write_text("x" * (n + 1))
for i in range(9):
    print("token", (50.001237 if i == 0 else 10.000731) * (3.0 if n % 3 == 0 else 1.0), "la")
"""


def test_of_several_requests_a_session_the_median_counts(tmp_path: Path) -> None:
    """By an engine that cannot run one again: its roots take turns."""
    sides = [StatedTimes(1.0, str(tmp_path / name), HICCUP) for name in ("base", "new")]
    cell, _ = compare(tmp_path, *sides, looks=(3,), requests=3)
    assert (cell.status, cell.requests) == ("PASS", 3)
    session = cell.sessions[0]
    assert session.metrics["tpot_ms"] == pytest.approx(10.000731)
    of_each = [round(one["tpot_ms"] or 0) for one in session.requests]
    assert sorted(of_each) == [10, 10, 30]
    assert (tmp_path / "logs" / "tiny-1.pair1.new.root3.stdout.log").is_file()
    priors = NoisePriors(tmp_path / "history", "test")
    assert [len(priors.groups("tpot_ms", n)) for n in (1, 3, 5)] == [1, 1, 0]
    assert priors.groups("tpot_ms", 3)[0].variance == 0


def test_pairs_come_in_blocks_of_both_orders(tmp_path: Path) -> None:
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0), looks=(6,))
    first = [s.side for s in sorted(cell.sessions, key=lambda s: s.pair) if s.is_first]
    assert len(first) == 6
    for block in (first[0:2], first[2:4], first[4:6]):
        assert sorted(block) == ["base", "new"]


def test_each_pair_is_handed_out_as_it_is_taken(tmp_path: Path) -> None:
    taken: list[PairTaken] = []
    cell, _ = compare(
        tmp_path, StatedTimes(1.0), StatedTimes(1.3), looks=(3,), on_pair=taken.append
    )
    assert [session for pair in taken for session in pair.sessions] == list(cell.sessions)
    for pair in taken:
        assert (pair.key.id, pair.invalid) == ("tiny-1", ())
        assert pair.samples["new"].tpot_ms == pytest.approx(13.0, rel=1e-3)
        assert pair.samples["base"].tpot_ms == pytest.approx(10.0, rel=1e-3)


def test_other_work_is_invalid_and_never_regressed(tmp_path: Path) -> None:
    short = PROGRAM.replace("range(9)", "range(5)")
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(2.0, program=short))
    assert cell.status == "INVALID"
    assert "the sides did different work: [(1, 5), (1, 9)]" in cell.reasons[0]


def test_a_side_that_breaks_is_an_error_with_its_words(tmp_path: Path) -> None:
    broken = "import sys; sys.exit('no such instruction')"
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0, program=broken))
    assert cell.status == "ERROR"
    assert "no such instruction" in cell.reasons[0]


def test_both_sides_run_with_workers_of_their_own(tmp_path: Path) -> None:
    engine = EmbeddedBackend()
    cell, told = compare(tmp_path, engine, engine, looks=(2,), nodes=2, requests=2)
    assert cell.status not in ("ERROR", "INVALID"), cell.reasons
    assert len(cell.sessions) == 4
    assert {len(session.requests) for session in cell.sessions} == {2}  # by one root each
    assert not list((tmp_path / "logs").glob("*.root2.*"))
    assert cell.further_s
    assert cell.same_tokens
    assert any("warm-up of both sides" in line for line in told)
    assert "pairs 1/2  cell 1 of 1" in told
    assert "looks [2]" in told
    logs = {path.name.partition(".worker1")[0] for path in (tmp_path / "logs").glob("*worker1.*")}
    assert {"tiny-2.pair1.base", "tiny-2.pair1.new", "tiny-2.pair2.base"} <= logs


def test_the_new_side_alone_is_slowed_down_on_purpose(tmp_path: Path) -> None:
    given = {"baseline": "self", "nodes": "1", "inject": "tpot=10%"}
    asked = LabConfig.of_texts(given, tmp_path)
    base, new = make_sides(parse_baseline("self"), asked, 1, lambda line: None)
    assert "--inject" not in base.backend.worker_command("h", 1, 1, "stdin")
    assert "tpot=10%" in new.backend.worker_command("h", 1, 1, "stdin")
    assert (base.config.inject, new.config.inject) == ("", "tpot=10%")
    assert new.label == f"{base.label}, slowed down on purpose (tpot=10%)"


def test_a_regression_is_shown_with_its_interval(tmp_path: Path) -> None:
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.3))
    regressed = VerdictFile(
        created_utc="2026-01-01T00:00:00Z", wall_s=1.0, baseline="self", base_label="a",
        new_label="b", fingerprint="f", seed=1, looks=(3,), level=0.05, prompt="p", steps=8,
        prior_groups=0, status="REGRESSED", holm_p={}, cells=(cell,),
    )  # fmt: skip
    shown = "\n".join(verdict_lines(regressed))
    assert "REGRESSED" in shown
    assert "+30.0 %" in shown or "+30.0%" in shown
    assert "surely worse, by" in shown


def test_ctrl_c_ends_requests_that_run_side_by_side(tmp_path: Path) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    slow = (
        f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(300)\n"
        f"pathlib.Path({str(ended)!r}).touch()\n"
    )

    def interrupt() -> None:
        while not began.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, StatedTimes(1.0, program=slow), StatedTimes(1.0, program=slow))
    assert not ended.exists()
