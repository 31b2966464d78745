"""What is said of a root that a signal ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.lab import runner
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, None),
        (None, None),
        (1, None),
        (130, None),  # dllama-py's own, of Ctrl-C
        (141, None),
        (143, None),
        (-9, signal.SIGKILL),
        (137, signal.SIGKILL),  # by a shell in between
        (-11, signal.SIGSEGV),
        (134, signal.SIGABRT),
        (255, None),
    ],
)
def test_the_signal_behind_an_exit_code(code: int | None, expected: signal.Signals | None) -> None:
    assert runner._killed_by(code) == expected


def test_a_death_is_told_with_the_memory_then() -> None:
    text = runner._death(signal.SIGKILL, LocalHost("pi3"))
    assert text.startswith("the root was killed by SIGKILL; pi3 had ")
    assert "MB of memory available then (a host that runs out of memory kills so" in text
    assert "dmesg" not in runner._death(signal.SIGSEGV, LocalHost())


_KILLS_THE_ROOT = """
import psutil, threading, time
def kill():
    own = psutil.Process()
    while True:
        for child in own.children():
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            if "inference" in words:
                child.kill()
                return
        time.sleep(0.001)
threading.Thread(target=kill, daemon=True).start()
"""


def test_a_root_that_is_killed_is_an_error_that_names_the_signal(tmp_path: Path) -> None:
    (tmp_path / "kills_the_root.py").write_text(_KILLS_THE_ROOT)
    run = RealRun(tmp_path)
    run.start([
        str(ROOT / "suites"), "--models", SMALL_MODEL, "--nodes", "1", "--steps", "16", "-k",
        "tpot", "--history", "off", "--warmup", "0", "-p", "kills_the_root",
    ])  # fmt: skip
    assert run.finish() == pytest.ExitCode.TESTS_FAILED, run.output
    assert "the root was killed by SIGKILL; localhost had " in run.output
    assert "events end after" in run.output
