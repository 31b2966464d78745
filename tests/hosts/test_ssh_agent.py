"""Agents and passphrases: the keys that `ssh` would offer, and a question asked once."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest

from tests.hosts import sshd
from tests.hosts.ssh_world import BASE, KEY, both

AGENT_CASES = {
    "any of its keys": ("Host *\n  IdentityFile {missing}\n", True),
    "a locked key that it holds": ("Host *\n  IdentityFile {locked}\n  IdentitiesOnly yes\n", True),
    "a public key": ("Host *\n  IdentityFile {locked}.pub\n  IdentitiesOnly yes\n", True),
    "a private key that is only there": (
        "Host *\n  IdentityFile {public_only}\n  IdentitiesOnly yes\n",
        True,
    ),
    "none but those named": ("Host *\n  IdentityFile {other}\n  IdentitiesOnly yes\n", False),
    "no agent": ("Host *\n  IdentityAgent none\n  IdentityFile {locked}\n", False),
    "a jump host": ("Host board\n  ProxyJump j1\n", True),
}


@pytest.mark.parametrize("case", AGENT_CASES)
def test_the_agent_as_ssh_does(world, tmp_path, agent, case: str) -> None:
    text, is_let_in = AGENT_CASES[case]
    ssh, we = both(world, tmp_path, text, "")
    assert (ssh, we == "") == (is_let_in, is_let_in), we


def test_an_agent_that_ssh_config_names(world, tmp_path, agent, monkeypatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    text = f"Host *\n  IdentityAgent {agent}\n"
    assert both(world, tmp_path, text, "") == (True, "")


def test_an_agent_with_more_keys_than_a_server_takes(world, tmp_path, agent) -> None:
    for n in range(7):
        sshd.make_key(tmp_path / f"key{n}")
        subprocess.run(["ssh-add", "-q", str(tmp_path / f"key{n}")], check=True)
    subprocess.run(["ssh-add", "-q", "-d", str(world.folder / "locked")], check=True)
    ssh, we = both(world, tmp_path, KEY, "")
    assert not ssh
    assert "more keys than it takes" in we
    assert "IdentitiesOnly yes" in we


ASKING = """
import sys
from pathlib import Path
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.connection import SshConnection
for name in ("board", "j1"):
    entry = HostEntry(name=name)
    inventory = Inventory(file=Path("h"), hosts=(entry,), ssh_config=Path(sys.argv[1]))
    print(SshConnection(entry, inventory).run(["echo", "in", name]).out.decode(), flush=True)
"""


def test_a_passphrase_is_asked_for_once(world, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = tmp_path / "config"
    text = "Host *\n  BatchMode no\n  IdentityFile {locked}\n" + BASE
    config.write_text(world.fill(text, tmp_path / "known"))
    said = _on_a_terminal([sys.executable, "-c", ASKING, str(config)], "open sesame\n")
    assert "in board" in said
    assert "in j1" in said
    assert said.count(f"Passphrase of {world.folder / 'locked'}: ") == 1


LIVE = """
import sys, threading
from pytest_dllama.lab.progress import LiveLine
line = LiveLine(sys.stderr)
line.stage("looking at board")
with line.running():
    thread = threading.Thread(target=lambda: exec(sys.argv[2]))
    thread.start()
    thread.join()
"""


def test_the_live_line_does_not_draw_over_the_question(world, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = tmp_path / "config"
    text = "Host *\n  BatchMode no\n  IdentityFile {locked}\n" + BASE
    config.write_text(world.fill(text, tmp_path / "known"))
    command = [sys.executable, "-c", LIVE, str(config), ASKING]
    said = _on_a_terminal(command, "open sesame\n", silence_s=1.0)
    assert "looking at board" in said
    assert "in board" in said


def _on_a_terminal(command: list[str], answer: str, silence_s: float = 0.0) -> str:
    """What is said; after the question nothing is, for so long, until it is answered."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    said = b""
    try:
        while data := os.read(terminal, 4096):
            said += data
            if said.endswith(b": "):
                assert select.select([terminal], [], [], silence_s)[0] == []
                os.write(terminal, answer.encode())
    except OSError:  # how a terminal ends
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return said.decode()
