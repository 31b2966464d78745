"""Commands whose output cannot be written, is not read, or meets a terminal without our letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import LOGS, RUNS

FULL = Path("/dev/full")
RUN = sorted(RUNS.glob("*.json"))[-1]


def _report(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_dllama.cli", "report", RUN, "-o", folder / "out"]
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = _report('"$@" > /dev/full', tmp_path)
    assert done.returncode == 2
    expected = "pytest-dllama: the output cannot be written: No space left on device\n"
    assert done.stderr == expected
    done = _report('ulimit -f 1; "$@"', tmp_path / "limited")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pytest-dllama: {tmp_path}/limited/out/")
    assert line.endswith(": File too large")


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("pytest_dllama.cli", 2, "the output cannot be written: No space left on device"),
        ("dllama_engine.cli", 1, "standard output cannot be written (No space left on device)"),
    ],
)
def test_help_that_cannot_be_written_is_no_success(program: str, code: int, words: str) -> None:
    for flags in ("-m", "-um"):  # buffered or not
        with FULL.open("w") as full:
            done = subprocess.run(
                [sys.executable, flags, program, "--version"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_closed_streams_are_no_crash() -> None:
    script = '"$@" >&- && "$@" 2>&-'
    command = [sys.executable, "-m", "pytest_dllama.cli", "--version"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pytest-dllama ")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp949"])
def test_a_terminal_without_our_letters_gets_their_escapes(encoding: str, tmp_path: Path) -> None:
    """`import-log` prints the path; nothing of it may end the command."""
    folder = tmp_path / "보고서-Gerät"
    folder.mkdir()
    log = LOGS / "upstream_inference_n1.log"
    done = subprocess.run(
        [sys.executable, "-m", "pytest_dllama.cli", "import-log", log, "-o", folder / "run.json"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert str(folder.name).encode(encoding, "backslashreplace") in done.stdout
    assert (folder / "run.json").exists()


def test_nobody_who_reads_is_no_error(tmp_path: Path) -> None:
    done = _report('"$@" | true', tmp_path)
    assert done.returncode == 141
    assert done.stderr == ""
