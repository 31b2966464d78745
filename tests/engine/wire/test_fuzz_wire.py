"""The short form of `make fuzz` for what comes over a network."""

from __future__ import annotations

import subprocess
import sys

from tests.data import ROOT


def run_fuzz(*options: str, sabotage: str = "") -> subprocess.CompletedProcess[str]:
    script = f"{sabotage}\nimport sys; from tests.fuzz_wire import main; sys.exit(main())"
    command = [sys.executable, "-W", "error", "-c", script, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_fuzzer_finds_nothing() -> None:
    done = run_fuzz("--cases", "2000")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2000 conversations: ")
    for case in ("answer_handshake", "dial_handshake", "greeting", "session", "frames", "set_up"):
        assert f"{case} read" in done.stdout
        assert f"{case} refused" in done.stdout
    assert "without a word" not in done.stdout


def test_the_fuzzer_finds_what_is_there_and_names_the_case() -> None:
    sabotage = (
        "import dllama_engine.wire.failure_attribution as c; c.error_frame.MAX_BYTES = 1 << 40"
    )
    done = run_fuzz("--cases", "4000", sabotage=sabotage)
    assert done.returncode != 0
    assert "case " in done.stderr
    assert "MemoryError" in done.stderr or "TimeoutError" in done.stderr
