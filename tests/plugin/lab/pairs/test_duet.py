"""A against B: real processes, their times stated by themselves, so that verdicts are exact."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.backends.base import Backend
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.cli.main import main
from pytest_dllama.config.baseline import parse_baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, PairTaken, Rules, Side
from pytest_dllama.lab.pairs.making import make_sides
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models.model_files import open_model
from pytest_dllama.record.verdict import CellVerdict, PairStatus, VerdictFile, verdict_schema
from pytest_dllama.report.terminal.verdict import verdict_lines
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import MIN_GROUPS, VarianceGroup
from pytest_dllama.verdict.exit_codes import bisect_code, exit_code
from pytest_dllama.verdict.limits.limit import TOLERANCES
from pytest_dllama.verdict.regression import DISTURBED
from tests.plugin.lab.pairs.stated_times import PROGRAM, StatedTimes, config


class Told(Silent):
    """Keeps what a terminal would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def overall(self, what: str, done: float, total: float) -> None:
        self.lines.append(what)

    def stage(self, text: str) -> None:
        self.lines.append(text)

    detail = settle = stage


def compare(
    tmp_path: Path,
    base: Backend,
    new: Backend,
    *,
    looks: tuple[int, ...] = (3, 5),
    nodes: int = 1,
    on_pair: Callable[[PairTaken], None] = lambda pair: None,
    requests: int | None = 1,
    is_calibration: bool = False,
    inject: str = "",
) -> tuple[CellVerdict, list[str]]:
    settings = config(tmp_path)
    slowed = replace(settings, inject=inject)
    sides = (Side("base", "before", base, settings), Side("new", "after", new, slowed))
    model = open_model(settings.models[0], lambda done, total: None)
    told = Told()
    priors = NoisePriors(tmp_path / "history", "test")
    rules = Rules(Plan(looks), priors, 7, requests=requests, is_calibration=is_calibration)
    duet = Duet(
        sides, {"tiny": model}, [CellKey("tiny", nodes)], rules, tmp_path / "logs",
        told, on_pair,
    )  # fmt: skip
    (cell,) = duet.run()
    return cell, told.lines


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


# Is killed in these of its sessions, the one-node run being number 0.
DYING = """
import os, pathlib, signal, sys
at, *deaths = sys.argv[2].split(",")
at = pathlib.Path(at)
n = len(at.read_text()) if at.exists() else 0
at.write_text("x" * (n + 1))
for i in range(9):
    print("token", 50.001237 if i == 0 else 10.000731, "la", flush=True)
    if str(n) in deaths:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_pair_that_lost_a_rank_is_taken_anew_once_and_marked(tmp_path: Path) -> None:
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},2", DYING)
    cell, told = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert (cell.status, cell.metrics[0].pairs) == ("PASS", 3)
    assert cell.retried is not None
    assert "the root was killed by SIGKILL" in cell.retried
    (line,) = [text for text in told if "taking the pair anew" in text]
    assert line.startswith("tiny-1: lost: the root was killed by SIGKILL")
    assert (tmp_path / "logs" / "tiny-1.retry1.pair2.new.root.stdout.log").is_file()


def test_a_one_node_run_that_was_lost_is_taken_anew_under_another_name(tmp_path: Path) -> None:
    """A host starts nothing under a name that it had: each run keeps its folder there."""
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},0", DYING)
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert (cell.status, cell.metrics[0].pairs) == ("PASS", 3)
    names = {path.name for path in (tmp_path / "logs").glob("*oracle.new.root.stdout.log")}
    assert names == {
        "tiny-1.oracle.new.root.stdout.log", "tiny-1.retry1.oracle.new.root.stdout.log"
    }  # fmt: skip


def test_the_reference_and_the_engine_itself_run_under_names_of_their_own(tmp_path: Path) -> None:
    new = StatedTimes(1.0)
    new.reference = StatedTimes(1.0, program="import sys; sys.exit('no memory')")
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert cell.status == "PASS"
    names = {path.name for path in (tmp_path / "logs").glob("*oracle.new.*stdout.log")}
    assert names == {
        "tiny-1.oracle.new.root.stdout.log", "tiny-1.oracle.new.stated.root.stdout.log"
    }  # fmt: skip


def test_a_pair_that_is_lost_again_is_an_error(tmp_path: Path) -> None:
    new = StatedTimes(1.0, f"{tmp_path / 'sessions'},2,3", DYING)
    cell, _ = compare(tmp_path, StatedTimes(1.0), new, looks=(3,))
    assert cell.status == "ERROR"
    assert "the root was killed by SIGKILL" in cell.reasons[0]


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


def test_the_command_writes_a_verdict_that_fits_its_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["duet", "--baseline", "option:sync-mode=invariant", "--nodes", "2", "--steps"]
    arguments += ["16", "--pairs", "2", "--seed", "3", "--report", str(tmp_path / "out")]
    code = main([*arguments, "--history", str(tmp_path / "history")])
    found = VerdictFile.model_validate(json.loads((tmp_path / "out/verdict.json").read_text()))
    assert code == exit_code(found.status, "warn")
    assert (found.seed, found.looks) == (3, (2,))
    (cell,) = found.cells
    assert cell.status not in ("ERROR", "INVALID"), cell.reasons
    (change,) = cell.exact_changes  # invariant mode moves other bytes
    assert change.metric == "bytes_per_token"
    out = capsys.readouterr().out
    assert "tiny-2" in out
    assert "CHANGED tiny-2: bytes_per_token" in out
    assert set(VerdictFile.model_fields) == set(verdict_schema()["properties"])


def test_exit_codes(tmp_path: Path) -> None:
    cell, _ = compare(tmp_path, StatedTimes(1.0), StatedTimes(1.3))
    regressed = VerdictFile(
        created_utc="2026-01-01T00:00:00Z", wall_s=1.0, baseline="self", base_label="a",
        new_label="b", fingerprint="f", seed=1, looks=(3,), level=0.05, prompt="p", steps=8,
        prior_groups=0, status="REGRESSED", holm_p={}, cells=(cell,),
    )  # fmt: skip
    statuses: tuple[PairStatus, ...] = (
        *("PASS", "IMPROVED", "INCONCLUSIVE", "REGRESSED", "FAIL", "INVALID", "ERROR"),
    )  # fmt: skip
    codes = {
        status: (exit_code(status, "warn"), exit_code(status, "fail"), bisect_code(status))
        for status in statuses
    }
    assert bisect_code(None) == 125
    assert codes == {
        "PASS": (0, 0, 0), "IMPROVED": (0, 0, 0), "INCONCLUSIVE": (0, 1, 125),
        "REGRESSED": (1, 1, 1), "FAIL": (1, 1, 1), "INVALID": (3, 3, 125), "ERROR": (3, 3, 125),
    }  # fmt: skip
    shown = "\n".join(verdict_lines(regressed))
    assert "REGRESSED" in shown
    assert "+30.0 %" in shown or "+30.0%" in shown
    assert "surely worse, by" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", ""], "--baseline '' names nothing; write self, git:REV"),
        (["--baseline", "option:nthreads=1"], "the new side runs with just that, so both would"),
        (["--baseline", "slef"], "did you mean 'self'"),
        (["--baseline", "self", "--pairs", "5,3"], "each further look more than the one before"),
        (["--baseline", "self", "--pairs", "x"], "write numbers of pairs"),
        (["--baseline", "git:no-such-revision"], "has no revision 'no-such-revision'"),
        (["--baseline", "git:/nowhere@main"], "is no git checkout"),
        (["--baseline", "dllama:/x"], "--engine dllama --dllama-bin PATH"),
        (["--baseline", "self", "--models", "huge"], "no shipped model of this name"),
        (
            ["--baseline", "self", "--nodes", "2", "--inject", "rank=5:compute=10%"],
            "no cell has a rank 5: the largest has 2 nodes, rank 0 is the root",
        ),
        (["--baseline", "self", "--inject", "kernel=fast"], "no kernels 'fast'; this CPU can run"),
        (
            ["--baseline", "self", "--emulate", "pi5x2-1gbe", "--inject", "qkv=10%"],
            "write tpot=, ttft= or sampling=, or --link and --nodes in place of --emulate",
        ),
    ],
)
def test_usage_errors_come_before_any_process(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = ["--report", str(tmp_path / "out"), "--history", str(tmp_path / "history")]
    assert main(["duet", *arguments, *report]) == 2
    assert words in capsys.readouterr().err
    assert main(["duet", "--bisect", *arguments, *report]) == 125


def test_sides_that_ask_the_same_share_one_reference_run(tmp_path: Path) -> None:
    compare(tmp_path, EmbeddedBackend(), EmbeddedBackend(), looks=(2,), nodes=1)
    oracles = {path.name.partition(".root")[0] for path in (tmp_path / "logs").glob("*oracle*")}
    assert oracles == {"tiny-1.oracle.new"}


def test_engines_that_differ_have_a_reference_run_each(tmp_path: Path) -> None:
    compare(tmp_path, StatedTimes(1.0), StatedTimes(1.0), looks=(2,))
    oracles = {path.name.partition(".root")[0] for path in (tmp_path / "logs").glob("*oracle*")}
    assert oracles == {"tiny-1.oracle.base", "tiny-1.oracle.new"}


def test_a_crash_is_no_bad_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*arguments: object, **named: object) -> None:
        raise RuntimeError("a fault of this revision's plugin")

    monkeypatch.setattr("pytest_dllama.cli.duet.make_lab", crash)
    arguments = ["duet", "--baseline", "self", "--nodes", "1", "--report", str(tmp_path)]
    assert main([*arguments, "--bisect"]) == 125
    assert "a fault of this revision's plugin" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="a fault of this revision's plugin"):
        main(arguments)


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
