"""Progress as people see it: on a real terminal of 80 columns, and through a pipe."""

from __future__ import annotations

import doctest
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_dllama import amounts
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.hosts.base import Progress
from pytest_dllama.hosts.progress_state import ProgressState
from pytest_dllama.lab.progress import LiveLine, PlainLines, Silent, announce_compilation
from tests.data import ROOT

COLUMNS = 80
DEADLINE_S = 900.0
QUIET_S = 0.4
# What a session tells; each of it stays until it was drawn, or told, twice more.
SESSION = f"""
import sys, time
from pytest_dllama.lab.progress import LiveLine, PlainLines

class Counted:
    n = 0

    def write(self, text):
        self.n += 1
        return sys.stdout.write(text)

    def __getattr__(self, name):
        return getattr(sys.stdout, name)

def drawn():
    n = out.n
    while out.n < n + 2:
        time.sleep(0.02)

live, out, start_s = sys.stdout.isatty(), Counted(), time.monotonic()
progress = LiveLine(out) if live else PlainLines(lambda line: out.write(line + "\\n"), {QUIET_S})
with progress.running():
    progress.overall("cell 1 of 6", 0, 6)
    progress.stage("llama-160m: opening the model")
    for done in range(4):
        time.sleep(0.3)
        progress.transfer(done * 40_000_000, 350_000_000)
    drawn()
    progress.stage("provisioning 3 workers for 4 nodes")
    progress.bar(1, 3)
    drawn()
    progress.settle("llama-160m-4: 57.9 tokens/s")
    progress.overall("cell 3 of 6", 2, 6)
    progress.stage("a-model-with-a-name-that-is-too-long-for-any-terminal-4: repeat 2/3")
    progress.detail("48 tokens")
    drawn()
    progress.overall("pairs 12/40  cell 3 of 4", 12, 40)
    progress.stage("llama-160m-4")
    progress.detail("+8.1 %, looks 3 5 [7] 10")
    drawn()
if not live:
    print(time.monotonic() - start_s, file=sys.stderr)
"""


def on_a_terminal(command: Sequence[str], **more: object) -> list[str]:
    """What a terminal of 80 columns was sent, redraw by redraw, without its codes."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "CI")}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT,
        env={**environment, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(terminal)
    guard = threading.Timer(DEADLINE_S, process.kill)
    guard.start()
    sent = b""
    while True:
        try:
            some = os.read(controller, 65536)
        except OSError:  # the other side is closed
            break
        if not some:
            break
        sent += some
    guard.cancel()
    os.close(controller)
    assert process.wait(DEADLINE_S) == 0, sent.decode(errors="replace")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent.decode("utf-8", errors="replace"))
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return on_a_terminal([sys.executable, "-c", SESSION])


def test_a_terminal_of_80_columns_is_enough(drawn: list[str]) -> None:
    assert max(map(len, drawn)) <= COLUMNS
    pairs = [line for line in drawn if "pairs 12/40  cell 3 of 4  llama-160m-4" in line]
    assert pairs
    assert re.search(r"  \+8\.1 %, looks 3 5 \[7\] 10 .*\d+ (s|min) left$", pairs[-1])


def test_a_name_too_long_leaves_cell_and_time_left(drawn: list[str]) -> None:
    long = [line for line in drawn if "cell 3 of 6  a-model-with-a-name" in line]
    assert long
    assert re.search(r"… .*\d+ (s|min) left$", long[-1])


def test_a_transfer_shows_bytes_rate_and_time_left(drawn: list[str]) -> None:
    (last, *_) = [line for line in reversed(drawn) if "opening the mo" in line and "120.0" in line]
    assert re.search(r"cell 1 of 6 .* 120\.0/350\.0 MB +[\d.]+ MB/s \d+ s left$", last)


def test_a_line_that_settles_stays_above(drawn: list[str]) -> None:
    assert "llama-160m-4: 57.9 tokens/s" in drawn


def test_through_a_pipe_there_is_a_line_now_and_then() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SESSION], cwd=ROOT, capture_output=True, text=True, check=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    lines = ended.stdout.splitlines()
    assert "\x1b" not in ended.stdout
    assert "dllama: llama-160m-4: 57.9 tokens/s" in lines
    transfer = re.compile(
        r"dllama: cell 1 of 6, llama-160m: opening the model, "
        r"\d+\.0 MB of 350\.0 MB, [\d.]+ MB/s, \d+ (s|min)$"
    )
    assert any(map(transfer.match, lines)), lines
    later = re.compile(r"dllama: pairs 12/40  cell 3 of 4, llama-160m-4, \+8\.1 %, .*, .* left$")
    assert any(map(later.match, lines)), lines
    # Not every redraw: what was settled, and a line whenever nothing was said for a while.
    assert len(lines) <= 1 + float(ended.stderr) / QUIET_S


def test_plain_lines_say_nothing_while_results_come() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append)
    with plain.running():
        plain.stage("provisioning")
        plain.detail("12 tokens")
        plain.bar(1, 2)
        plain.settle("tiny-2: 57.9 tokens/s")
    assert lines == ["dllama: tiny-2: 57.9 tokens/s"]


def test_the_live_line_leaves_nothing_behind() -> None:
    file = io.StringIO()
    begun: list[int] = []
    line = LiveLine(file, lambda: begun.append(1))
    with line.running():
        line.stage("tiny-2: repeat 1/3")
        line.detail("12 tokens")
    text = file.getvalue()
    assert "12 tokens" in text
    assert text.rstrip().endswith("\x1b[2K")  # the last thing done is to wipe the line
    assert begun == [1]


@pytest.mark.parametrize("kind", [Silent, lambda: PlainLines(print), lambda: LiveLine(sys.stdout)])
def test_all_kinds_take_all_that_is_told(kind: type[Progress]) -> None:
    progress = kind()
    for told in (progress.stage, progress.detail, progress.settle):
        told("something")
    for told_size in (progress.bar, progress.transfer):
        told_size(1, 3)
    progress.overall("cell 1 of 1", 0, 1)
    with progress.running():
        progress.bar(0, 0)  # nothing to do at all


def test_time_left_is_what_went_by_so_far() -> None:
    now_s = [100.0]
    told = ProgressState(clock=lambda: now_s[0])
    assert told.left() == ""
    told.overall("cell 1 of 4", 0, 4)
    now_s[0] += 30
    assert told.left() == ""  # nothing is done yet
    told.overall("cell 2 of 4", 1, 4)
    assert told.left() == "2 min left"
    now_s[0] += 10
    told.overall("cell 2 of 4", 1.5, 4)
    assert told.left_s() == pytest.approx(40 / 1.5 * 2.5)
    now_s[0] += 5  # it counts down between one and the next ...
    assert told.left_s() == pytest.approx(40 / 1.5 * 2.5 - 5)
    now_s[0] += 500  # ... but one that takes long says nothing of those after it
    assert told.left_s() == pytest.approx(40 / 1.5 * 1.5)
    told.overall("cell 4 of 4", 5, 4)
    assert told.left() == "0 s left"
    told.overall("pairs 0/40", 0, 40)  # something else begins: nothing is known of it
    assert told.left() == ""


def test_course_doctests() -> None:
    results = doctest.testmod(amounts)
    assert results.attempted >= 3
    assert results.failed == 0


def test_a_first_run_is_announced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of kernels is a machine that has never run the engine."""
    lines: list[str] = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    announce_compilation(EmbeddedBackend(), PlainLines(lines.append))
    assert lines == [
        "dllama: first run on this machine: compiling the engine's kernels, once; about half a "
        "minute, more on a small board"
    ]


def test_a_whole_run_on_a_terminal(tmp_path: Path) -> None:
    """The suites, drawn while they measure: cells are counted, and nothing stays of the line."""
    arguments = ["--nodes", "1,2", "--models", "tiny", "--steps", "16", "--repeats", "2"]
    command = [sys.executable, "-m", "pytest", "suites/", *arguments, "--report", str(tmp_path)]
    drawn = on_a_terminal([*command, "-p", "no:cacheprovider", "--benchmark-disable"])
    first = [line for line in drawn if "cell 1 of 2  tiny" in line]
    second = [line for line in drawn if "cell 2 of 2  tiny" in line and line.endswith(" left")]
    assert first
    assert second
    assert any("tiny-2: repeat 2/2" in line for line in second)
    assert any("tiny-2: " in line and "tokens/s" in line for line in drawn)
