"""The agent's looks at a board and its ways to detach a process, as the program that hosts run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dllama.hosts.agent.supervisor import as_bytes, put
from pytest_dllama.hosts.fleet.preflight import THROTTLED_BITS, decode_throttled
from pytest_dllama.hosts.packages.agent_archive import agent_archive
from tests.engine.processes import GENEROUS_S, runs, wait_until
from tests.hosts.board import VARIABLE, Board
from tests.hosts.conftest import skip_or_fail


@pytest.fixture(scope="session")
def agent(tmp_path_factory) -> Path:
    name, data = agent_archive()
    file = tmp_path_factory.mktemp("agent") / name
    file.write_bytes(data)
    return file


@pytest.fixture
def board(tmp_path) -> Board:
    return Board(tmp_path / "board")


class Asker:
    """Runs the agent with a board's files and programs, and with nothing else on PATH."""

    def __init__(self, agent: Path, root: Path) -> None:
        self._agent = agent
        self.env = {"PATH": f"{root / 'bin'}:/usr/bin:/bin", VARIABLE: str(root)}

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-I", self._agent, what],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=self.env,
            check=True,
            timeout=GENEROUS_S,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture
def asker(agent, board) -> Asker:
    return Asker(agent, board.root)


def test_a_boards_facts(asker, board, tmp_path) -> None:
    found = asker.ask("facts", folder=str(tmp_path))
    assert found["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["governor"] == "ondemand"
    assert (found["mhz"], found["max_mhz"]) == (2400.0, 2400.0)
    assert found["temperature_c"] == 48.35  # the hottest zone
    assert found["cache_bytes"] == 2 << 20  # one shared last level
    assert [(link["name"], link["speed_mbps"], link["wireless"]) for link in found["links"]] == [
        ("eth0", 1000, False),
        ("wlan0", None, True),
    ]


def test_caches_that_are_not_shared_add_up(asker, board, tmp_path) -> None:
    for index in board.root.glob("sys/devices/system/cpu/cpu*/cache/index3"):
        shutil.rmtree(index)
    assert asker.ask("facts", folder=str(tmp_path))["cache_bytes"] == 4 * 512 << 10


def test_the_slowest_core_counts(asker, board) -> None:
    board.clock(1500)
    board.temperature(81.9)
    found = asker.ask("sample")
    assert (found["mhz"], found["temperature_c"]) == (1500.0, 81.9)
    assert found["sample_ms"] > 0


def test_a_board_that_tells_nothing(agent, tmp_path) -> None:
    found = Asker(agent, tmp_path).ask("facts", folder=str(tmp_path))
    for name in ("board", "governor", "mhz", "max_mhz", "temperature_c", "throttled"):
        assert found[name] is None
    assert (found["links"], found["cache_bytes"]) == ([], None)


@pytest.mark.parametrize(("bit", "words"), THROTTLED_BITS.items())
def test_each_bit_of_get_throttled(asker, board, bit: int, words: str) -> None:
    board.vcgencmd(f'[ "$1" = get_throttled ] && echo throttled={1 << bit:#x}')
    assert decode_throttled(asker.ask("sample")["throttled"]) == (words,)


def test_the_kernels_own_file_comes_first(asker, board) -> None:
    board.vcgencmd("echo throttled=0x1")
    board.throttled("50005\n")
    assert asker.ask("sample")["throttled"] == 0x50005


@pytest.mark.parametrize(
    "script",
    ["echo VCHI initialization failed; exit 255", "exit 1", "echo throttled=", "sleep 600"],
)
def test_a_firmware_program_that_does_not_answer(asker, board, script: str) -> None:
    board.vcgencmd(script)
    assert asker.ask("sample")["throttled"] is None


def test_a_board_that_is_well(asker, board) -> None:
    board.vcgencmd("echo throttled=0x0")
    assert asker.ask("sample")["throttled"] == 0


# -- detaching ------------------------------------------------------------------------------------


def _lingering(board: Board, asker: Asker) -> None:
    """As after `loginctl enable-linger`."""
    board.write("var/lib/systemd/linger/root", "")
    board.write("run/systemd/private", "")
    asker.env |= {"USER": "root", "XDG_RUNTIME_DIR": str(board.root / "run")}


def _start(asker: Asker, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", "import os, time; print(os.environ['KEY']); time.sleep(600)"]
    spec = {"command": command, "env": {"KEY": "hush-hush"}, "lease_s": 300.0}
    return asker.ask("start", folder=str(folder / "run" / "session" / "p"), **spec)


def test_a_commands_words_are_utf8_whatever_the_locale() -> None:
    """A Latin-1 board would else send an engine other bytes than the controller has."""
    assert as_bytes("안녕 caf\udce9") == "안녕 ".encode() + b"caf\xe9"


def _clear(asker: Asker, folder: Path, pid: int) -> None:
    assert asker.ask("clear", run_folder=str(folder / "run"))["removed"] == ["session/p"]
    wait_until(lambda: not runs(pid), "the process's end")


def test_without_lingering_a_session_of_its_own_detaches(asker, board, tmp_path) -> None:
    _lingering(board, asker)
    (board.root / "var/lib/systemd/linger/root").unlink()
    answer = _start(asker, tmp_path)
    assert answer["launcher"] == "setsid"
    _clear(asker, tmp_path, answer["pid"])


def test_a_systemd_that_nobody_runs_is_passed_over(asker, board, tmp_path) -> None:
    _lingering(board, asker)
    (board.root / "run/systemd/private").unlink()
    answer = _start(asker, tmp_path)
    assert answer["launcher"] == "setsid"
    _clear(asker, tmp_path, answer["pid"])


def test_a_systemd_run_that_fails_is_passed_over(asker, board, tmp_path) -> None:
    skip_or_fail(None if shutil.which("systemd-run") else "systemd-run is not installed")
    _lingering(board, asker)  # but nobody listens at that `private`
    answer = _start(asker, tmp_path)
    assert answer["launcher"] == "setsid"
    _clear(asker, tmp_path, answer["pid"])


@pytest.fixture
def user_systemd(tmp_path_factory) -> Iterator[Path]:
    """A real user's systemd of our own; its runtime folder.

    It refuses to run on a machine that systemd did not boot, so it gets a /run/systemd of its own.
    """
    program = next(filter(os.path.exists, ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")), "")
    if not program or shutil.which("systemd-run") is None:
        skip_or_fail("systemd is not installed; make test-deps installs it")
    if os.geteuid() != 0:
        skip_or_fail("a mount namespace needs root")
    runtime = tmp_path_factory.mktemp("xdg")
    runtime.chmod(0o700)
    script = (
        "mkdir -p /run/systemd && mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system "
        f"&& exec {program} --user --log-target=null"
    )
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], env=environment)
    until_s = time.monotonic() + GENEROUS_S
    while not (runtime / "systemd" / "private").exists():
        if process.poll() is not None or time.monotonic() > until_s:
            process.kill()
            skip_or_fail("a user's systemd does not run here")
        time.sleep(0.05)
    yield runtime
    process.terminate()
    process.wait(GENEROUS_S)


def test_a_real_user_systemd_runs_the_process(asker, board, tmp_path, user_systemd) -> None:
    board.write("var/lib/systemd/linger/root", "")
    asker.env |= {"USER": "root", "XDG_RUNTIME_DIR": str(user_systemd)}
    answer = _start(asker, tmp_path)
    assert answer["launcher"] == "systemd-run"
    ancestors = [process.name() for process in psutil.Process(answer["pid"]).parents()]
    assert "systemd" in ancestors
    shown = subprocess.run(
        ["systemctl", "--user", "show", "pytest-dllama-session-p"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(user_systemd)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "ActiveState=active" in shown
    assert "hush-hush" not in shown
    _clear(asker, tmp_path, answer["pid"])
    assert not (tmp_path / "run").exists()


def test_boards_that_share_a_disk_write_one_file_at_the_same_time(tmp_path) -> None:
    """As two boards do that mark the same kernels as taken: each succeeds, the file is whole."""
    file, texts = tmp_path / "mark", [letter * 4096 for letter in "abcdefgh"]
    with ThreadPoolExecutor(len(texts)) as boards:
        for _ in range(50):
            assert [*boards.map(lambda text: put(file, text), texts)] == [None] * len(texts)
    assert file.read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]
