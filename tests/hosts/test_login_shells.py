"""What a login shell prints, and shells that run nothing of ours."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh import agent_client, connection
from pytest_dllama.hosts.ssh.channel import BEGIN, announced
from pytest_dllama.hosts.ssh.host import SshHost
from tests.hosts import sshd

MakeSshd = Callable[..., sshd.Sshd]
InventoryOf = Callable[..., Inventory]
TALKATIVE = "printf 'home=/wrong\\nno newline'; echo oh >&2\n"


def test_what_a_shell_prints_at_login_is_not_ours(
    make_sshd: MakeSshd, inventory_of: InventoryOf, tmp_path: Path
) -> None:
    noise = tmp_path / "noise"
    noise.write_text(TALKATIVE)
    server = make_sshd(f'ForceCommand . {noise}; eval "$SSH_ORIGINAL_COMMAND"\n')
    host = _host(inventory_of([server]))
    try:
        done = host.agent.connection.run(["sh", "-c", "echo '!a'; echo b >&2; exit 3"])
        assert (done.code, done.out, done.err) == (3, b"!a\n", "b\n")
        assert host.agent.ask("room")["available_bytes"] > 0
        process = host.start(["echo", "hello"], "worker", tmp_path / "logs", {})
        assert process.wait(20) == 0
        assert (tmp_path / "logs" / "worker.stdout.log").read_text() == "hello\n"
        host.clear()
    finally:
        host.agent.connection.close()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo This account is not available; exit 1", "(exit code 1; it said: This account is"),
        ("true", "(exit code 0; it said nothing)"),
    ],
)
def test_a_shell_that_runs_no_commands(
    make_sshd: MakeSshd, inventory_of: InventoryOf, command: str, words: str
) -> None:
    """It was told to install a python."""
    host = _host(inventory_of([make_sshd(f"ForceCommand {command}\n")]))
    with pytest.raises(HostError, match="its login shell does not run commands") as caught:
        host.agent.open()
    host.agent.connection.close()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("code", "is_behind", "words"),
    [
        (1, True, "its jump host forwards nothing (no); see AllowTcpForwarding of its sshd"),
        (2, True, "its jump host does not reach it (no); is it on"),
        (2, False, "it opens no more sessions (no); see MaxSessions of its sshd"),
    ],
)
def test_why_a_channel_is_not_opened(code: int, is_behind: bool, words: str) -> None:
    error = paramiko.ChannelException(code, "no")
    assert connection._reason(error, is_behind).startswith(words)


def test_a_folder_with_other_things_is_left_alone(
    make_sshd: MakeSshd, inventory_of: InventoryOf, tmp_path: Path
) -> None:
    """`hosts clean` removed models and tmp from whatever folder was named."""
    theirs = tmp_path / "distributed-llama"
    (theirs / "models").mkdir(parents=True)
    server = make_sshd()
    host = _host(inventory_of([server], folder=str(theirs)))
    with pytest.raises(HostError, match=r"holds other things \(models\), and `hosts clean`"):
        host.agent.open()
    assert list(theirs.iterdir()) == [theirs / "models"]
    own = _host(inventory_of([server], folder=str(theirs / "pytest-dllama")))
    own.agent.open()
    own.remove_folder()
    assert list(theirs.iterdir()) == [theirs / "models"]
    for each in (host, own):
        each.agent.connection.close()


def _host(inventory: Inventory) -> SshHost:
    return SshHost(inventory.hosts[0], inventory)


def test_a_command_is_the_same_in_every_shell() -> None:
    """csh knows no newline in quotes and takes `!` for its history; fish has escapes in quotes."""
    hello = shlex.join(["sh", "-c", agent_client._HELLO, "hello", "python3", agent_client._VERSION])
    assert "\n" not in announced(hello)
    assert "\\" not in announced(hello)
    words = ["printf", "%s", "it's !a !!"]
    line = announced(shlex.join(words))
    assert "!" not in line.replace("\\!", "")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{BEGIN}\nit's !a !!", f"{BEGIN}\n")
