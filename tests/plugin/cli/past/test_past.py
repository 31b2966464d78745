"""What people type to look at kept runs, and what they read then."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.history.accepted import stored
from pytest_dllama.history.nights import Night, nights_of
from pytest_dllama.history.run_files import write_run
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.cell import Verdict
from tests.plugin.history.night_runs import CLUSTER, cell, night_run

BASE, NEW = (10.0, 10.1, 9.9, 10.0), (11.0, 11.1, 10.9, 11.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = RunStore(tmp_path / "h", CLUSTER)
    for night, tpots in enumerate((BASE, NEW)):
        store.add(night_run(night, [cell(tpots), cell(tpots, nodes=4)]))
    return tmp_path / "h"


def names(folder: Path) -> list[str]:
    return RunStore(folder, CLUSTER).names()


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str, str]:
    code = main([*words, "--history", str(folder)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_of_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = names(folder)
    main(["baseline", "accept", first, "--history", str(folder)])
    capsys.readouterr()
    code, out, _ = run(capsys, folder, "history", "--nodes", "4", "--metric", "tpot_ms")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["run", "commit", "cell", "verdict", "tpot_ms", "marks"]
    assert lines[2].split() == [first, "0" * 10, "tiny-4", "PASS", "10.00", "accepted", "anchor"]
    assert lines[3].split() == [second, "0" * 10, "tiny-4", "PASS", "11.00"]
    assert lines[4] == f"2 of 2 runs of {CLUSTER}"
    code, out, _ = run(capsys, folder, "history", "-n", "1", "--format", "json")
    assert {row["run"] for row in json.loads(out)} == {second}


@pytest.mark.parametrize("command", ["history", "nightly", "calibrate 5", "watch run.json"])
@pytest.mark.parametrize("text", ["off", ""])
def test_without_a_history_there_is_nothing_to_do(
    command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`off` is what the suites take; here it would be a folder of that name."""
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--history", text])
    assert ended.value.code == 2
    assert f"{text!r} is no history, and this command works with one" in capsys.readouterr().err


def test_a_run_from_elsewhere_is_added(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(night_run(7, [cell(BASE)]), tmp_path / "run.json")
    code, out, _ = run(capsys, folder, "history", "--add", str(path))
    assert code == 0
    assert Path(out.strip()).stem == names(folder)[-1]
    assert len(names(folder)) == 3


def test_two_runs_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = names(folder)
    code, out, err = run(capsys, folder, "compare", first, "last", "--nodes", "2")
    rows = {line.split()[1]: line.split() for line in out.splitlines()[2:]}
    assert (code, err) == (0, "")
    assert rows["tpot_ms"] == [
        *("tiny-2", "tpot_ms", "10.00", "9.87..10.13", "4", "11.00", "10.87..11.13", "4"),
        *("+10.0%", "0.000", "worse"),
    ]
    assert rows["ttft_s"][-3:] == ["4", "~", "1.000"]
    assert rows["tokens_per_s"][-1] == "worse"
    assert rows["bytes_per_token"][-3:] == ["0.0%", "-", "same"]
    assert rows["load_s"][-2:] == ["~", "1.000"]


def test_a_run_that_was_slowed_down_on_purpose_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = names(folder)[0]
    slowed = night_run(5, [cell(NEW)])
    request = slowed.request.model_copy(update={"inject": "tpot=10%"})
    RunStore(folder, CLUSTER).add(slowed.model_copy(update={"request": request}))
    _, out, _ = run(capsys, folder, "history", "--metric", "tpot_ms")
    assert [line.split()[-1] for line in out.splitlines()[-2:-1]] == ["slowed"]
    code, _, err = run(capsys, folder, "compare", first, "last")
    assert code == 0
    assert f"{names(folder)[-1]} was slowed down on purpose (--inject tpot=10%)" in err


def test_other_forms_hold_the_same_figures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", names(folder)[0], "last", "--metric", "tpot_ms", "--format"]
    data = json.loads(run(capsys, folder, *words, "json")[1])
    assert [(row["cell"], row["metric"]) for row in data] == [
        ("tiny-2", "tpot_ms"), ("tiny-4", "tpot_ms"),
    ]  # fmt: skip
    assert data[0]["change"] == pytest.approx(0.1, abs=1e-4)
    assert data[0]["worsening"] == data[0]["change"]
    rows = list(csv.DictReader(io.StringIO(run(capsys, folder, *words, "csv")[1])))
    assert [float(row["change"]) for row in rows] == [row["change"] for row in data]
    markdown = run(capsys, folder, *words, "md")[1].splitlines()
    assert markdown[0].startswith("| cell | metric | A | 95 % | n |")
    assert markdown[2].startswith("| tiny-2 | tpot_ms | 10.00 | 9.87..10.13 | 4 |")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("tpot_ms:5%", 1), ("any:9", 1), ("tpot_ms:12%", 0), ("bytes_per_token:0", 0)],
)
def test_a_limit_decides_the_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], limit: str, code: int
) -> None:
    found, _, err = run(capsys, folder, "compare", names(folder)[0], "last", "--fail-on", limit)
    assert found == code
    assert ("worse: tiny-2 tpot_ms +10.0%" in err) == bool(code)


def test_a_better_run_never_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "last", names(folder)[0], "--fail-on", "any:0"]
    assert run(capsys, folder, *words)[0] == 0


def test_other_work_is_said_and_never_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = night_run(5, [cell(NEW)])
    request = other.request.model_copy(update={"steps": 99})
    RunStore(folder, CLUSTER).add(other.model_copy(update={"request": request}))
    first = names(folder)[0]
    code, _, err = run(capsys, folder, "compare", first, "last")
    assert code == 0
    assert "not the same work: other steps: 16 and 99" in err
    assert "left out: tiny-4: only in the first run" in err
    code, _, err = run(capsys, folder, "compare", first, "last", "--fail-on", "any:5%")
    assert code == 2
    assert "did different work: other steps: 16 and 99" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "x", "last"], "no run begins with 'x' in the history of cluster"),
        (["compare", "last", "last", "--nodes", "two"], "--nodes two is no whole number"),
        (["history", "--cluster", "pi"], "--cluster pi is none of the clusters in"),
        (
            ["compare", "last", "last", "--model", "tyni"],
            "--model 'tyni': no cell has it; did you mean 'tiny'?",
        ),
        (["history", "--model", "qwen"], "--model 'qwen': no cell has it; there are tiny"),
        (["trend", "--model", "qwen"], "--model 'qwen': no cell has it; there are tiny"),
        (["history", "--nodes", "3,8"], "--nodes 3,8: no cell has so many; there are 2, 4"),
        (["baseline", "accept", "--model", "tyni"], "did you mean 'tiny'?"),
        (["baseline", "accept", "--as", "self"], "it must name a version that stays"),
        (["baseline", "accept", "--as", "gti:x"], "--as 'gti:x': did you mean 'git'?"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, _, err = run(capsys, folder, *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("tpot:5%", "'tpot' is no metric"),
        ("tpot_ms:x", "write METRIC:PERCENT"),
        ("tpot_ms:-1", "must be 0 or more"),
    ],
)
def test_a_limit_that_cannot_be(
    folder: Path, capsys: pytest.CaptureFixture[str], limit: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "last", "last", "--fail-on", limit])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("repeats", "limit", "message"),
    [
        (1, "tpot_ms:5%", "--fail-on tpot_ms: one value in a run tells no change from noise"),
        (1, "any:5%", "--fail-on any: one value in a run tells no change from noise"),
        (4, "j_per_token:5%", "--fail-on j_per_token compares nothing: no cell of both runs"),
    ],
)
def test_a_limit_that_nothing_can_miss_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], repeats: int, limit: str, message: str
) -> None:
    for night in (5, 6):
        RunStore(folder, CLUSTER).add(night_run(night, [cell(NEW[:repeats])]))
    words = ["compare", names(folder)[-2], "last", "--fail-on", limit]
    code, _, err = run(capsys, folder, *words)
    assert code == 2
    assert message in err


def test_a_cell_that_is_sound_no_more_misses_every_limit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = cell(BASE, nodes=4, verdict=Verdict(status="INVALID"))
    RunStore(folder, CLUSTER).add(night_run(5, [cell(BASE), wrong]))
    words = ["compare", names(folder)[0], "last"]
    assert run(capsys, folder, *words)[0] == 0
    code, _, err = run(capsys, folder, *words, "--fail-on", "any:5%")
    assert code == 1
    assert "worse: tiny-4: INVALID in the second run" in err


def test_accepting_and_the_anchor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = names(folder)
    assert "nothing is accepted for cluster" in run(capsys, folder, "baseline", "show")[1]
    code, out, _ = run(capsys, folder, "baseline", "accept", first, "--note", "release 1")
    assert code == 0
    assert f"accepted: {first} of cluster, again by git:{0:040x}" in out
    assert "it is the anchor too, since there was none" in out
    accepted = stored(RunStore(folder, CLUSTER), "accepted")
    assert accepted is not None
    assert accepted.run.revision is not None
    assert accepted.run.revision.subject == "change 0"
    code, out, _ = run(capsys, folder, "baseline", "accept", "--as", "dllama:/opt/dllama")
    assert code == 0  # seen, but nothing proves it
    line = next(text for text in out.splitlines() if "tiny-2" in text and "tpot_ms" in text)
    assert line.split()[2:5] == ["10.00", "11.00", "+10.0%"]
    assert line.endswith("unknown: under 10 nights       +5.0%   beyond, unproven")
    words = ("--nodes", "4", "--metric", "tpot_ms")
    out = run(capsys, folder, "baseline", "show", *words)[1]
    assert "+10.0%" in next(line for line in out.splitlines() if "tiny-4" in line)
    assert "tiny-2" not in out
    assert "ttft_s" not in out
    out = run(capsys, folder, "baseline", "show")[1]
    assert f"accepted (embedded): {second}, again by dllama:/opt/dllama" in out
    assert f"anchor (embedded): {first}, again by git:" in out
    assert "release 1" in out


def test_creep_is_refused_once_nights_prove_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five steps of 4 %, each tolerated: the anchor sees their sum."""
    store = RunStore(folder, CLUSTER)
    for n in range(14):
        tpots = [10.0 + 0.05 * (n % 3), 10.0, 9.95]
        found = night_run(10 + n, [cell(tpots)])
        nights_of(store).add(Night(run=store.add(found), created_utc=found.created_utc))
    assert run(capsys, folder, "baseline", "accept")[0] == 0
    for step in (1.04, 1.08):
        store.add(night_run(40 + int(step * 100), [cell([10 * step, 10.02 * step, 9.98 * step])]))
    assert run(capsys, folder, "baseline", "accept", names(folder)[-2])[0] == 0
    code, out, err = run(capsys, folder, "baseline", "accept")
    assert code == 1
    assert "tpot_ms" in next(line for line in out.splitlines() if line.endswith("CREPT"))
    assert "not accepted: tiny-2 tpot_ms" in err
    assert "crept beyond what is tolerated since the anchor" in err
    assert run(capsys, folder, "baseline", "accept", "--metric", "ttft_s")[0] == 0
    assert run(capsys, folder, "baseline", "accept", "--despite-creep")[0] == 0
    assert run(capsys, folder, "baseline", "anchor")[0] == 0
    assert run(capsys, folder, "baseline", "accept")[0] == 0


def test_an_invalid_run_is_not_accepted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = cell(BASE, verdict=Verdict(status="INVALID", reasons=("wire: a byte more",)))
    path = write_run(night_run(3, [wrong]), tmp_path / "run.json")
    code, _, err = run(capsys, folder, "baseline", "accept", str(path))
    assert code == 2
    assert "cannot be accepted: tiny-2: INVALID: wire: a byte more; measure again" in err
    assert stored(RunStore(folder, CLUSTER), "accepted") is None


def test_hostile_names_break_no_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "a|b\n[red]x\u202e<i>"
    path = write_run(night_run(3, [cell(BASE, model=evil)]), tmp_path / "run.json")
    out = run(capsys, folder, "compare", str(path), str(path), "--format", "md")[1]
    assert {line.replace("\\|", "").count("|") for line in out.splitlines()} == {12}
    out = run(capsys, folder, "compare", str(path), str(path))[1]
    assert "[red]x" in out
    assert "\u202e" not in out
