"""The command `pytest-dllama duet`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.record.verdict import VerdictFile, verdict_schema
from pytest_dllama.verdict.exit_codes import exit_code


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
