"""The shell around a foreign program: it ends with the program, and the program with its parent."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from pytest_dllama.backends import process_guard

# Gets its first signal too early and sleeps on, as dash may; it obeys the second.
DEAF = """(
  trap 'told=x$told; [ "$told" = xx ] && { kill "$!"; exit 0; }' TERM
  while :; do sleep 60 & wait "$!"; done
) >/dev/null 2>&1 & watcher"""


def test_a_watcher_that_misses_a_signal_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    script = re.sub(
        r"^\(.*^\).*?& watcher", lambda found: DEAF, process_guard._SCRIPT, flags=re.M | re.S
    )
    assert DEAF in script
    monkeypatch.setattr(process_guard, "_GUARD", ("sh", "-c", script, "guard"))
    command = process_guard.guarded(["sh", "-c", "sleep 0.2; echo done; exit 3"], str(os.getpid()))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (ended.returncode, ended.stdout) == (3, "done\n")


def test_many_that_end_at_once_all_end() -> None:
    command = process_guard.guarded(["true"], str(os.getpid()))
    started = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(20)]
    assert [process.wait(180) for process in started] == [0] * 20
