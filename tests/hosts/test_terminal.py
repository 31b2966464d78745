"""The live table of `hosts check` on a real pseudo-terminal: drawn anew, ended cleanly."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts import sshd

PATIENCE_S = 180.0  # only a failing test waits so long
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


class Terminal:
    """A command at a pseudo-terminal of its own, which is its controlling one."""

    def __init__(self, command: list[str], columns: int = 160) -> None:
        self.output = ""
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        hidden = ("COLUMNS", "NO_COLOR", "CI")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def read_until(self, condition: Callable[[str], object]) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not condition(self.output):
            assert time.monotonic() < until_s, self.output
            if not self._read():
                assert condition(self.output), self.output
                return

    def _read(self) -> bool:
        """Some more, if any comes soon; False at the end."""
        if not select.select([self._fd], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False  # the other side has closed
        self.output += data.decode("utf-8", "replace")
        return bool(data)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def finish(self) -> int:
        """The exit code."""
        until_s = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < until_s, self.output
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    @property
    def lines(self) -> list[str]:
        """All that was drawn, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.output).splitlines()


@pytest.fixture
def check() -> Iterator[Callable[[Path], Terminal]]:
    started: list[Terminal] = []

    def start(file: Path) -> Terminal:
        program = [sys.executable, "-m", "pytest_dllama.cli", "hosts", "check", "--hosts"]
        started.append(Terminal([*program, str(file)]))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()


def _rows(terminal: Terminal, host: str) -> list[list[str]]:
    """Every drawing of a host's row in the table of steps, cell by cell."""
    rows = [line for line in terminal.lines if re.match(rf"\W*│ {host} ", line)]
    return [[cell.strip() for cell in row.split("│")[2:-1]] for row in rows]


def _is_under_way(terminal: Terminal, host: str) -> bool:
    return any("..." in row for row in _rows(terminal, host))


def test_the_table_grows_and_stays(make_sshd, inventory_of, tmp_path, check) -> None:
    servers = [make_sshd(), make_sshd()]
    slow = tmp_path / "slow-python"  # a step lasts until the table was drawn with it under way
    drawn = tmp_path / "drawn"
    wait = f"until [ -e {drawn} ]; do sleep 0.05; done"
    slow.write_text(f'#!/bin/sh\n{wait}\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    terminal = check(inventory_of(servers, python=str(slow)).file)
    terminal.read_until(lambda _: all(_is_under_way(terminal, host) for host in ("pi1", "pi2")))
    drawn.touch()
    assert terminal.finish() == 0, terminal.output
    for host in ("pi1", "pi2"):
        steps = [row for row in _rows(terminal, host) if len(row) == 6]  # one column a step
        assert steps[-1][:2] == ["ok", "ok"]
    assert "\x1b[1A" in terminal.output, "it was drawn in place"
    assert terminal.output.rindex(SHOW) > terminal.output.rindex(HIDE)
    assert any("memory available" in line for line in terminal.lines)


def test_a_host_that_fails_says_where(make_sshd, inventory_of, check) -> None:
    servers = [make_sshd(), make_sshd()]
    file = inventory_of(servers).file
    servers[1].kill()
    terminal = check(file)
    assert terminal.finish() == 1
    assert [row for row in _rows(terminal, "pi2") if len(row) == 6][-1][0] == "failed"
    assert any("nobody answers there" in line for line in terminal.lines)


def test_ctrl_c_ends_the_table_and_leaves_the_terminal_as_it_was(
    make_sshd, inventory_of, tmp_path, check
) -> None:
    slow = tmp_path / "slow-python"
    slow.write_text(f'#!/bin/sh\n[ "$2" = venv ] && exec sleep 600\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    server: sshd.Sshd = make_sshd()
    file = inventory_of([server], python=str(slow), provision=True).file
    terminal = check(file)
    terminal.read_until(lambda text: re.search(r"ok[^\n]*ok[^\n]*ok[^\n]*\.\.\.", text))
    terminal.type("\x03")
    assert terminal.finish() == 130  # nobody waits for the installation
    assert "Traceback" not in terminal.output
    assert terminal.output.rindex(SHOW) > terminal.output.rindex(HIDE)
    assert terminal.lines[-1] == "pytest-dllama: stopped"
