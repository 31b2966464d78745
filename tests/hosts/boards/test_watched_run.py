"""Runs on a host whose temperature and throttling change meanwhile: waited for, seen, reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from tests.data import ROOT
from tests.hosts.board import VARIABLE, Board
from tests.hosts.sshd import Sshd
from tests.plugin.real_runs import RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
ONE = ("--models", "tiny", "--nodes", "1", "--warmup", "0", "--repeats", "1", "--cooldown", "60")


@pytest.fixture
def board(tmp_path) -> Board:
    board = Board(tmp_path / "board")
    board.vcgencmd("cat $(dirname $0)/../throttled")
    board.write("throttled", "throttled=0x20000")
    return board


@pytest.fixture
def server(make_sshd, board: Board) -> Sshd:
    path = f"{board.bin}:/usr/local/bin:/usr/bin:/bin"
    made: Sshd = make_sshd(**{VARIABLE: str(board.root), "PATH": path})
    return made


def _hosts_file(server: Sshd, boards, tmp_path: Path, head: str = "") -> str:
    """With the environment that was provisioned for the session."""
    file = tmp_path / "hosts.toml"
    entry = server.entry("pi1", role="root", python=boards.python, folder=str(boards.folder))
    file.write_text(f'known_hosts = "known_hosts"\n{head}\n{entry}')
    return str(file)


# Before the second of three requests the board is found throttled.
THROTTLES = """
from pathlib import Path

from pytest_dllama.hosts.ssh.host import SshHost

_start, _board = SshHost.start, Path({root!r})

def _start_on_a_warm_board(self, command, name, *arguments, **named):
    if name.endswith(".repeat2.root"):
        (_board / "sys/class/thermal/thermal_zone0/temp").write_text("58500\\n")
        (_board / "sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq").write_text("1500000\\n")
        (_board / "throttled").write_text("throttled=0x60004")
    return _start(self, command, name, *arguments, **named)

SshHost.start = _start_on_a_warm_board
"""


def test_a_warm_board_is_waited_for_and_what_happens_to_it_is_told(
    boards, board: Board, server: Sshd, tmp_path
) -> None:
    board.temperature(72.0)
    (tmp_path / "throttles.py").write_text(THROTTLES.format(root=str(board.root)))
    run = RealRun(tmp_path, "md")
    hosts = _hosts_file(server, boards, tmp_path)
    more = ("--steps", "64", "--repeats", "3", "-p", "throttles")
    run.start([SUITES, *ONE, *more, "--hosts", hosts])
    run.wait_until(lambda: "dllama: pi1: ready" in run.output)
    time.sleep(1.0)
    assert not list(run.report.glob("logs/*/*root*"))  # nothing has begun
    board.temperature(55.0)
    assert run.finish() == 0, run.output
    record = read_run(run.report / "run.json")
    assert record.notes == ()
    (host,) = record.hosts
    assert host.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert host.temperature_c == 72.0
    assert host.throttled == ("frequency capped since boot",)
    assert host.watch
    assert host.watch.max_temperature_c == 58.5
    assert host.watch.min_mhz == 1500.0
    assert host.watch.throttled == ("throttled now", "throttled since boot")
    assert host.watch.sample_ms > 0
    words = "SLOWED DOWN during the run: throttled now, throttled since boot"
    assert words in run.output
    english = (run.report / "report.en.md").read_text(encoding="utf-8")
    assert "**pi1** was slowed down during the run (throttled now, throttled since boot)" in english
    assert "pi1 was seen at 1500 MHz, its highest clock is 2400 MHz" in english
    korean = (run.report / "report.ko.md").read_text(encoding="utf-8")
    assert "**pi1**: 측정 중 느려짐 (현재 스로틀링, 부팅 후 스로틀링 발생)" in korean


def test_a_board_that_stays_warm_is_measured_after_the_deadline_with_a_note(
    boards, board: Board, server: Sshd, tmp_path
) -> None:
    board.temperature(71.6)
    run = RealRun(tmp_path, "md")
    hosts = _hosts_file(server, boards, tmp_path, "cooling_s = 2.0")
    start_s = time.monotonic()
    run.start([SUITES, *ONE, "--steps", "8", "--hosts", hosts])
    assert run.finish() == 0, run.output
    assert time.monotonic() - start_s > 2.0
    note = "measured warmer than 60 °C after 2 s of --cooldown: pi1 72 °C"
    assert f"warning: {note}" in run.output
    assert read_run(run.report / "run.json").notes == (note,)
    told = "60 °C보다 뜨거운 상태로 측정함 (--cooldown 2 s 후): pi1 72 °C"
    for language, words in (("en", note), ("ko", told)):
        assert words in (run.report / f"report.{language}.md").read_text(encoding="utf-8")
