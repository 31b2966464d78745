"""ssh_config and known_hosts mean to us what they mean to `ssh`: the same servers, both asked."""

from __future__ import annotations

import getpass
import os
import pty
import resource
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.connection import SshConnection
from pytest_dllama.hosts.ssh.settings import resolve
from tests.hosts import sshd
from tests.hosts.conftest import skip_or_fail

BASE = """
Host board j1 j2
  HostName 127.0.0.1
Host board
  Port {board}
Host j1
  Port {j1}
Host j2
  Port {j2}
Host *
  BatchMode yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
"""
KEY = "\nHost *\n  IdentityFile {key}\n"
BOARD = "[127.0.0.1]:{board}"


@dataclass(frozen=True, slots=True)
class World:
    """A board, two jump hosts, and keys: `id` is let in, `locked` too, `other` is not."""

    folder: Path
    servers: dict[str, sshd.Sshd]

    def fill(self, text: str, known: Path) -> str:
        ports = {name: server.port for name, server in self.servers.items()}
        keys = {f"{name}_key": " ".join(self.public(name).split()[:2]) for name in self.servers}
        for name in ("other", "ca", "nobodys_ca"):
            public = (self.folder / f"{name}.pub").read_text()
            keys[f"{name}_key"] = " ".join(public.split()[:2])
        names = ("id", "locked", "other", "signed", "elsewhere.pub", "revoked", "open")
        paths = {name.partition(".")[0]: self.folder / name for name in names}
        words = {"key": paths["id"], **paths, "missing": self.folder / "missing", "known": known}
        return text.format(
            **ports,
            **keys,
            **words,
            folder=known.parent,
            public_only=self.folder / "public_only",
        )

    def public(self, name: str) -> str:
        return (self.servers[name].folder / "host_key.pub").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    skip_or_fail(sshd.missing())
    folder = tmp_path_factory.mktemp("config")
    servers = {name: sshd.Sshd(folder / name, folder) for name in ("board", "j1", "j2")}
    sshd.make_key(folder / "other")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", str(folder / "locked")],
        check=True,
    )
    shutil.copy(folder / "locked.pub", folder / "public_only.pub")
    _certify(folder, servers["board"])
    for server in servers.values():
        allowed = server.home / ".ssh" / "authorized_keys"
        allowed.parent.mkdir(exist_ok=True)
        shutil.copy(folder / "locked.pub", allowed)
        server.start()
    yield World(folder, servers)
    for server in servers.values():
        server.kill()


def _certify(folder: Path, board: sshd.Sshd) -> None:
    """An authority that signed the board's key and `signed`; `id` has a certificate of no use."""
    for name in ("ca", "nobodys_ca", "signed"):
        sshd.make_key(folder / name)
    sign = ["ssh-keygen", "-q", "-I", "test", "-s"]
    for command in (
        [*sign, folder / "ca", "-h", "-n", "127.0.0.1", board.folder / "host_key.pub"],
        [*sign, folder / "ca", "-n", getpass.getuser(), folder / "signed.pub"],
        [*sign, folder / "nobodys_ca", "-n", getpass.getuser(), folder / "id.pub"],
        ["ssh-keygen", "-q", "-k", "-f", folder / "revoked", board.folder / "host_key.pub"],
    ):
        subprocess.run(command, check=True)
    (folder / "signed-cert.pub").rename(folder / "elsewhere.pub")
    shutil.copy(folder / "id", folder / "open")
    (folder / "open").chmod(0o644)
    board.lines = (
        f"HostCertificate {board.folder}/host_key-cert.pub\nTrustedUserCAKeys {folder}/ca.pub\n"
    )


@pytest.fixture
def agent(world, tmp_path, monkeypatch) -> Iterator[str]:
    """An agent that holds the key with the passphrase."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not os.path.exists(path):
        assert process.poll() is None
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\necho open sesame\n")
    helper.chmod(0o755)
    asking = {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
    env = {**os.environ, "SSH_AUTH_SOCK": path, **asking}
    subprocess.run(["ssh-add", "-q", str(world.folder / "locked")], env=env, check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    yield path
    process.terminate()
    process.wait()


def _ssh(config: Path) -> bool:
    done = subprocess.run(
        ["ssh", "-F", str(config), "board", "true"], capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode in (0, 255), done.stderr
    return done.returncode == 0


def _connection(config: Path, **more: object) -> SshConnection:
    entry = HostEntry(name="board")
    return SshConnection(
        entry, Inventory(file=Path("hosts.toml"), hosts=(entry,), ssh_config=config, **more)
    )


def _we(config: Path) -> str:
    """Empty if we are let in, else why not."""
    connection = _connection(config)
    try:
        assert connection.run(["echo", "in"]).out == b"in\n"
    except HostError as error:
        return str(error)
    finally:
        connection.close()
    return ""


def _both(world: World, folder: Path, text: str, known: str) -> tuple[bool, str]:
    """What ssh does and what we do, each with files of its own."""
    configs = []
    for who in ("ssh", "we"):
        (folder / who).mkdir()
        file = folder / who / "known"
        if known:
            file.write_text(world.fill(known, file))
        config = folder / who / "config"
        (folder / who / "more").write_text(world.fill(KEY, file))
        config.write_text(world.fill(text + BASE, file))
        configs.append(config)
    return _ssh(configs[0]), _we(configs[1])


CASES = {  # ssh_config before the common part, known_hosts, whether one gets in, and our words
    "a key": (KEY, "", True, ""),
    "Include": ("Include {folder}/more", "", True, ""),
    "Match": ("Match originalhost board user nobody\n  Port 1\n" + KEY, "", True, ""),
    "Match exec": ('Match exec "test %n = board"\n  IdentityFile {key}\n', "", True, ""),
    "several keys": (
        "Host *\n IdentityFile {missing}\n IdentityFile {other}\n IdentityFile {key}\n",
        *("", True, ""),
    ),
    "a missing key": ("Host *\n  IdentityFile {missing}\n", "", False, "does not let us in"),
    "another key": ("Host *\n  IdentityFile {other}\n", "", False, "it took none of "),
    "a locked key": ("Host *\n  IdentityFile {locked}\n", "", False, "try: ssh-add "),
    "strict, unknown": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("", False, "its host key is unknown and ssh_config says StrictHostKeyChecking yes"),
    ),
    "strict, known": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *(BOARD + " {board_key}\n", True, ""),
    ),
    "known without a last newline": (KEY, "elsewhere {other_key}", True, ""),
    "a broken line": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("[127.0 ssh-ed25519 AAAA\n\nboard\n" + BOARD + " {board_key}\n", True, ""),
    ),
    "changed": (KEY, BOARD + " {other_key}\n", False, "its host key is not the one in "),
    "changed, one of two": (KEY, BOARD + " {other_key}\n" + BOARD + " {board_key}\n", True, ""),
    "changed, nobody minds": (
        "Host *\n  StrictHostKeyChecking no\n" + KEY,
        *(BOARD + " {other_key}\n", True, ""),
    ),
    "revoked": (
        KEY,
        BOARD + " {board_key}\n@revoked * {board_key}\n",
        *(False, "its host key is marked @revoked in "),
    ),
    "a pattern": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("[127.*]:{board} {board_key}\n", True, ""),
    ),
    "an excluded pattern": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("[*]:*,![127.0.0.?]:{board} {board_key}\n", False, "its host key is unknown"),
    ),
    "without the port": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("127.0.0.1 {board_key}\n", True, ""),
    ),
    "HostKeyAlias": (
        "Host *\n  StrictHostKeyChecking yes\n  HostKeyAlias my-board\n" + KEY,
        *("my-board {board_key}\n", True, ""),
    ),
    "kept nowhere": ("Host *\n  UserKnownHostsFile /dev/null\n" + KEY, "", True, ""),
    "ProxyJump": ("Host board\n  ProxyJump j1\n" + KEY, "", True, ""),
    "a chain": ("Host board\n  ProxyJump j1,j2\n" + KEY, "", True, ""),
    "a chain of its own": (
        "Host board\n  ProxyJump j2\nHost j2\n  ProxyJump j1\n" + KEY,
        *("", True, ""),
    ),
    "a jump to nowhere": (
        "Host board\n  ProxyJump nobody@127.0.0.1:1\n" + KEY,
        *("", False, "board (its jump host nobody@127.0.0.1:1): nobody answers there"),
    ),
    "nobody behind the jump host": (
        "Host board\n  Port 1\n  ProxyJump j1\n" + KEY,
        *("", False, "its jump host does not reach it (Connect failed); is it on"),
    ),
    "ProxyJump none": (
        "Host board\n  ProxyJump none\nHost *\n  ProxyJump 127.0.0.1:1\n" + KEY,
        *("", True, ""),
    ),
    "a jump host with another key": (
        "Host board\n  ProxyJump j1\n" + KEY,
        *("[127.0.0.1]:{j1} {other_key}\n", False, "(its jump host "),
    ),
    "the second jump host with another key": (
        "Host board\n  ProxyJump j1,j2\n" + KEY,
        *("[127.0.0.1]:{j2} {other_key}\n", False, "its host key is not the one in "),
    ),
    "an authority": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("@cert-authority [127.0.0.1]:{board} {ca_key}\n", True, ""),
    ),
    "another authority": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("@cert-authority * {nobodys_ca_key}\n", False, "signed by an authority that known_"),
    ),
    "a revoked authority": (
        "Host *\n  StrictHostKeyChecking yes\n" + KEY,
        *("@cert-authority * {ca_key}\n@revoked * {ca_key}\n", False, "its certificate does not"),
    ),
    "RevokedHostKeys": (
        "Host *\n  RevokedHostKeys {revoked}\n" + KEY,
        *("", False, "its host key is not to be trusted: it is revoked by "),
    ),
    "RevokedHostKeys that are not there": (
        "Host *\n  RevokedHostKeys {missing}\n" + KEY,
        *("", False, "cannot be read: No such file"),
    ),
    "CertificateFile": (
        "Host *\n  IdentityFile {signed}\n  CertificateFile {elsewhere}\n",
        *("", True, ""),
    ),
    "a key that others can read": (
        "Host *\n  IdentityFile {open}\n",
        *("", False, "is passed over, for others can read it (mode 0644); chmod 600 "),
    ),
    "NoHostAuthenticationForLocalhost": (
        "Host *\n  NoHostAuthenticationForLocalhost yes\n" + KEY,
        *(BOARD + " {other_key}\n", True, ""),
    ),
    "AddressFamily": ("Host *\n  AddressFamily inet6\n" + KEY, "", False, "cannot be resolved"),
    "a ProxyCommand that ends": (
        "Host board\n  ProxyCommand sh -c 'echo no tunnel >&2; exit 3'\n" + KEY,
        *("", False, "its ProxyCommand ended with exit code 3: no tunnel"),
    ),
    "ProxyCommand": (
        "Host board\n  ProxyCommand ssh -F {folder}/config -W %h:%p j1\n" + KEY,
        *("", True, ""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_as_ssh_does(world, tmp_path, monkeypatch, case: str) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    text, known, is_let_in, words = CASES[case]
    ssh, we = _both(world, tmp_path, text, known)
    assert (ssh, we == "") == (is_let_in, is_let_in), we
    assert words in we


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
    ssh, we = _both(world, tmp_path, text, "")
    assert (ssh, we == "") == (is_let_in, is_let_in), we


def test_an_agent_that_ssh_config_names(world, tmp_path, agent, monkeypatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    text = f"Host *\n  IdentityAgent {agent}\n"
    assert _both(world, tmp_path, text, "") == (True, "")


def test_the_line_is_the_one_that_ssh_writes(world, tmp_path) -> None:
    assert _both(world, tmp_path, KEY, "elsewhere {other_key}\n") == (True, "")
    ssh, we = ((tmp_path / who / "known").read_text().splitlines() for who in ("ssh", "we"))
    assert len(we) == 2
    assert we == ssh[:2]


def test_an_unfinished_last_line_is_finished_first(world, tmp_path) -> None:
    """OpenSSH 9.2 makes one line of the two."""
    known, config = tmp_path / "known", tmp_path / "config"
    known.write_text(world.fill("elsewhere {other_key}", known))
    config.write_text(world.fill(KEY + BASE, known))
    assert _we(config) == ""
    lines = known.read_text().splitlines()
    assert lines[0] == world.fill("elsewhere {other_key}", known)
    assert lines[1] == world.fill(BOARD + " {board_key}", known)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "known"]


def test_a_linked_known_hosts_stays_a_link(world, tmp_path) -> None:
    own = tmp_path / "dotfiles"
    own.write_text("")
    own.chmod(0o640)
    (tmp_path / "known").symlink_to(own)
    config = tmp_path / "config"
    config.write_text(world.fill(KEY + BASE, tmp_path / "known"))
    assert _we(config) == ""
    assert (tmp_path / "known").is_symlink()
    assert own.read_text().startswith("[127.0.0.1]:")
    assert own.stat().st_mode & 0o777 == 0o640


def test_hashed_names_are_found_again_by_ssh(world, tmp_path) -> None:
    known, config = tmp_path / "known", tmp_path / "config"
    text = "Host *\n  HashKnownHosts yes\n" + KEY + BASE
    config.write_text(world.fill(text, known))
    assert _we(config) == ""
    assert known.read_text().startswith("|1|")
    config.write_text(world.fill("Host *\n  StrictHostKeyChecking yes\n" + KEY + BASE, known))
    assert _ssh(config)
    assert _we(config) == ""


def test_a_broken_line_is_named(world, tmp_path) -> None:
    known, config = tmp_path / "known", tmp_path / "config"
    known.write_text("# ours\n\n[127.0 ssh-ed25519 AAAA\n")
    config.write_text(world.fill(KEY + BASE, known))
    connection = _connection(config)
    connection.connect()
    connection.close()
    assert connection.remarks == [f"{known}:3 is no line of known_hosts and is passed over"]


def test_a_broken_ssh_config_in_the_words_of_ssh(tmp_path) -> None:
    config = tmp_path / "config"
    config.write_text("Host board\n  Prot 22\n")
    assert "Bad configuration option: prot" in _we(config)


def test_a_name_is_no_option() -> None:
    with pytest.raises(HostError, match="refuses"):
        resolve("-oProxyCommand=touch /tmp/never")


def test_without_ssh_the_same_files_are_read(world, tmp_path, monkeypatch) -> None:
    config = tmp_path / "config"
    text = world.fill("Host board\n  ProxyJump j1\n" + KEY + BASE, tmp_path / "known")
    config.write_text(text)
    asked = resolve("board", config)
    monkeypatch.setattr("pytest_dllama.hosts.ssh.settings.shutil.which", lambda name: None)
    read = resolve("board", config)
    assert read.jumps == asked.jumps == ("j1",)
    assert read == asked
    assert _we(config) == ""


@pytest.mark.parametrize("has_ssh", [True, False])
def test_a_key_of_the_inventory_is_what_i_means_to_ssh(
    world, tmp_path, monkeypatch, has_ssh
) -> None:
    """First of those that are offered, those of ssh_config after it."""
    if not has_ssh:
        monkeypatch.setattr("pytest_dllama.hosts.ssh.settings.shutil.which", lambda name: None)
    config = tmp_path / "config"
    config.write_text(world.fill(KEY + BASE, tmp_path / "known"))
    other = str(world.folder / "other")
    assert resolve("board", config, key=other).identity_files == (Path(other), world.folder / "id")
    entry = HostEntry(name="board", key=other)
    file = Path("hosts.toml")
    connection = SshConnection(entry, Inventory(file=file, hosts=(entry,), ssh_config=config))
    assert connection.run(["echo", "in"]).out == b"in\n"
    connection.close()


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


def test_an_agent_with_more_keys_than_a_server_takes(world, tmp_path, agent) -> None:
    for n in range(7):
        sshd.make_key(tmp_path / f"key{n}")
        subprocess.run(["ssh-add", "-q", str(tmp_path / f"key{n}")], check=True)
    subprocess.run(["ssh-add", "-q", "-d", str(world.folder / "locked")], check=True)
    ssh, we = _both(world, tmp_path, KEY, "")
    assert not ssh
    assert "more keys than it takes" in we
    assert "IdentitiesOnly yes" in we


def test_two_writers_lose_no_key(tmp_path) -> None:
    file = tmp_path / "known"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pytest_dllama.hosts.host_keys.known_hosts import add_key\n"
        "for n in range(100): add_key(Path(sys.argv[1]), f'{sys.argv[2]}{n}', 'k', 'b')"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    names = {line.split()[0] for line in file.read_text().splitlines()}
    assert names == {f"{who}{n}" for who in "ab" for n in range(100)}


def test_a_full_disk_leaves_known_hosts_as_it_was(tmp_path) -> None:
    file = tmp_path / "known"
    file.write_text("elsewhere k b\n")
    limits = (resource.RLIMIT_FSIZE, (8, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from pytest_dllama.hosts.host_keys.known_hosts import add_key\n"
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit{limits!r}\n"
        "add_key(Path(sys.argv[1]), 'here', 'k', 'b')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert file.read_text() == "elsewhere k b\n"
    assert [path.name for path in tmp_path.iterdir()] == ["known"]
