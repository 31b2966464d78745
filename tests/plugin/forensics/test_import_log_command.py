"""The command `pytest-dllama import-log`: what it writes, judges, refuses and says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.history.run_files import read_run
from tests.plugin.backends.sample_logs import LOGS
from tests.plugin.forensics.imported_logs import (
    WORKERS,
)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run.json"
    logs = [str(LOGS / name) for name in ("upstream_inference_n1.log", "upstream_inference_n2.log")]
    argv = ["import-log", *logs, "-o", str(output), "--model-name", "llama-160m"]
    assert main(argv) == 0
    assert "llama-160m, 2 nodes: 1 run, 86.64 tokens/s" in capsys.readouterr().out
    assert [cell.nodes for cell in read_run(output).cells] == [1, 2]
    assert main(["report", str(output)]) == 0
    assert (tmp_path / "report.ko.md").exists()
    assert main(argv) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*argv, "--force", "--nthreads", "4"]) == 0
    assert read_run(output).request.nthreads == 4


def test_command_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "run.json")
    assert main(["import-log", str(tmp_path / "no.log"), "-o", output]) == 2
    assert "no.log: No such file" in capsys.readouterr().err
    assert main(["import-log", str(LOGS / WORKERS[0]), "-o", output]) == 2
    assert "output of the root" in capsys.readouterr().err
    assert not Path(output).exists()


def test_command_line_judges_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits, output = tmp_path / "limits.toml", tmp_path / "run.json"
    limits.write_text("[defaults]\ntpot_ms = 1\n")
    argv = ["import-log", str(LOGS / "upstream_inference_n2.log"), "-o", str(output)]
    assert main([*argv, "--memory-gb-per-s", "4"]) == 2
    assert "without --model-file: what a token must read is not known" in capsys.readouterr().err
    assert main([*argv, "--thresholds", str(limits)]) == 0
    (cell,) = read_run(output).cells
    assert cell.verdict is not None
    assert cell.verdict.status == "FAIL"
    limits.write_text("[defaults]\ntpot = 1\n")
    assert main([*argv, "--force", "--thresholds", str(limits)]) == 2
    assert "unknown metric 'tpot'; did you mean 'tpot_ms'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv, "--memory-gb-per-s", "nan"])
    assert "'nan' is no rate above 0" in capsys.readouterr().err


def test_help_is_a_command_of_its_own() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_dllama.cli", "import-log", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--model-name" in shown.stdout
