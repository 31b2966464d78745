from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.command import PROGRAM, own_environ
from pytest_dllama.hosts.local import LocalHost
from tests.engine.processes import GENEROUS_S, runs, wait_until

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); "


def _start(tmp_path, code: str, **secrets: str):
    return LocalHost().start([sys.executable, "-c", code], "p", tmp_path, secrets)


def test_lines_logs_and_end(tmp_path) -> None:
    process = _start(tmp_path, "import sys; print('a\\né'); print('oops', file=sys.stderr)")
    assert [process.read_line(GENEROUS_S) for _ in range(2)] == ["a\n", "é\n"]
    assert process.read_line(GENEROUS_S) is None
    assert process.read_line(GENEROUS_S) is None  # the end stays the end
    assert process.wait(GENEROUS_S) == 0
    process.stop()
    assert process.error_tail() == "oops"
    assert [file.read_text() for file in process.log_files] == ["a\né\n", "oops\n"]


def test_secrets_go_by_the_environment(tmp_path) -> None:
    process = _start(tmp_path, "import os; print(os.environ['KEY']); input()", KEY="hush")
    assert process.read_line(GENEROUS_S) == "hush\n"
    process.stop()


def test_silence_times_out(tmp_path) -> None:
    process = _start(tmp_path, "import time; time.sleep(600)")
    with pytest.raises(TimeoutError, match=r"p printed nothing for 0\.1 s"):
        process.read_line(0.1)
    assert process.wait(0) is None
    process.stop()
    assert process.wait(0) == -15


def test_stop_is_by_force_in_the_end_and_takes_the_children(tmp_path) -> None:
    child = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'input()'], "
    child += "stdin=subprocess.PIPE); print(c.pid, flush=True); time.sleep(600)"
    process = _start(tmp_path, STUBBORN + child)
    assert process.read_line(GENEROUS_S) == "on\n"
    child_pid = int(process.read_line(GENEROUS_S) or 0)
    process.stop(grace_s=0.2)
    assert process.wait(0) == -9
    wait_until(lambda: not runs(child_pid), "the child's end")


def test_a_program_that_is_not_there(tmp_path) -> None:
    with pytest.raises(HostError, match="no-such-program cannot be started on localhost"):
        LocalHost().start(["no-such-program"], "p", tmp_path, {})


def test_the_engine_keeps_its_byte_code_where_python_may_write_none_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed baseline has such files; who compiles at each start is slower between tokens."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    process = LocalHost().start([PROGRAM, "--version"], "version", tmp_path, {})
    assert process.wait(GENEROUS_S) == 0
    process.stop()
    found = {path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")}
    assert {"main", "version"} <= found


def test_a_place_of_the_users_for_byte_code_is_kept() -> None:
    own = own_environ({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/a"})
    assert own["PYTHONPYCACHEPREFIX"] == "/a"
    assert "PYTHONPYCACHEPREFIX" not in own_environ({})
