"""Processes of this machine whose logs or pipes cannot be had, and words that reach them whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.hosts.base import HostError, HostProcess
from pytest_dllama.hosts.local import LocalHost

FULL = Path("/dev/full")


def _read_all(process: HostProcess) -> None:
    while process.read_line(60.0) is not None:
        pass


def test_a_log_that_cannot_be_written_ends_its_process_at_once(tmp_path: Path) -> None:
    (tmp_path / "root.stdout.log").symlink_to(FULL)
    talk = "import itertools\nfor n in itertools.count(): print('line', n, flush=True)"
    process = LocalHost().start([sys.executable, "-c", talk], "root", tmp_path, {})
    words = (
        rf"the log {tmp_path}/root.stdout.log cannot be written \(No space left on device\); make "
        "room there"
    )
    with pytest.raises(HostError, match=words):
        _read_all(process)
    assert process.wait(60.0) is not None
    process.stop()


def test_a_process_without_room_for_its_pipes_names_the_limit(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from pytest_dllama.hosts.local import LocalHost; from pytest_dllama.hosts.base import *\n"
        "(Path(sys.argv[1]) / 'root.stderr.log').touch()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))\n"
        "try: LocalHost().start(['true'], 'root', Path(sys.argv[1]), {})\n"
        "except HostError as error: print(error)"
    )
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    words = "true cannot be started on localhost: Too many open files: `ulimit -n` allows 5"
    assert done.stdout.strip() == words


def test_a_log_that_cannot_be_made_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(HostError, match=r"the log .*root\.stderr\.log cannot be written"):
        LocalHost().start([sys.executable, "-c", ""], "root", tmp_path / "logs", {})


def test_a_prompt_is_passed_on_whatever_the_locale_is(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pytest_dllama.hosts.local import LocalHost\n"
        'echo = \'import sys; sys.stdout.buffer.write(sys.argv[1].encode("utf-8", '
        '"surrogateescape"))\'\n'
        "p = LocalHost().start([sys.executable, '-c', echo, '\\uc548\\ub155'], 'e', "
        "Path(sys.argv[1]), {})\n"
        "print(ascii(p.read_line(60)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "'\\uc548\\ub155'\n"
