"""A process on another machine whose log has no room here: it is ended, and the reason told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.ssh.agent_client import AgentClient
from pytest_dllama.hosts.ssh.process import SshProcess


class Talking:
    """A follower's channel that has a line, and then nothing, until it is closed."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []
        self._closed = threading.Event()

    def lines(self) -> Iterator[bytes]:
        yield b"othe first line"
        self._closed.wait(60)

    def send(self, order: bytes) -> None:
        self.orders.append(order)

    def close(self) -> None:
        self._closed.set()


def _process(channel: Talking, logs: Path) -> SshProcess:
    connection = SimpleNamespace(where="pi1", channel=lambda command: channel)
    agent: Any = SimpleNamespace(
        connection=connection, lease_s=60.0, follow_command=lambda folder, offsets: "follow"
    )
    return SshProcess(cast(AgentClient, agent), "root", "/run/x", 1, logs)


def test_a_log_that_cannot_be_written_ends_the_process_at_once(tmp_path: Path) -> None:
    (tmp_path / "root.stdout.log").symlink_to("/dev/full")
    channel = Talking()
    process = _process(channel, tmp_path)
    process.attach()
    words = r"the log .*root\.stdout\.log cannot be written \(No space left on device\)"
    with pytest.raises(HostError, match=words):
        process.read_line(60.0)
    assert channel.orders == [b"T\n"]
    process.stop()


def test_a_log_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(HostError, match=r"root\.stdout\.log cannot be written \(Not a directory\)"):
        _process(Talking(), tmp_path / "logs").attach()
