"""ssh_config means to us what it means to `ssh`: the same servers, both asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.connection import SshConnection
from pytest_dllama.hosts.ssh.settings import resolve
from tests.hosts.ssh_world import BASE, BOARD, KEY, both, why_we_do_not

CASES = {  # ssh_config before the common part, known_hosts, whether one gets in, and our words
    "a key": (KEY, "", True, ""),
    "Include": ("Include {folder}/more", "", True, ""),
    "Include of a pattern": ("Include {folder}/mo*\nInclude {folder}/none*", "", True, ""),
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
    "a revoked key of this very machine": (
        "Host *\n  NoHostAuthenticationForLocalhost yes\n  RevokedHostKeys {revoked}\n" + KEY,
        *("", False, "its host key is not to be trusted: it is revoked by "),
    ),
    "AddressFamily": ("Host *\n  AddressFamily inet6\n" + KEY, "", False, "cannot be resolved"),
    "PubkeyAuthentication no": (
        "Host *\n  PubkeyAuthentication no\n" + KEY,
        *("", False, "ssh_config forbids keys (PubkeyAuthentication no, or "),
    ),
    "PreferredAuthentications": (
        "Host *\n  PreferredAuthentications hostbased,password\n" + KEY,
        *("", False, "and no password is ever typed here; allow them for board"),
    ),
    "what is of a terminal": (
        "Host *\n  RequestTTY force\n  ForwardAgent yes\n  ControlMaster auto\n  ControlPath none\n"
        "  ControlPersist no\n  UpdateHostKeys yes\n  VerifyHostKeyDNS yes\n" + KEY,
        *("", True, ""),
    ),
    "a Host that is excluded": (
        "Host * !board\n  IdentityFile {key}\nHost bo?rd !j1\n  IdentityFile {other}\n",
        *("", False, "it took none of "),
    ),
    "ProxyCommand none": (
        "Host board\n  ProxyCommand none\nHost *\n  ProxyCommand false\n" + KEY,
        *("", True, ""),
    ),
    "CanonicalizeHostname": (
        "CanonicalizeHostname always\nCanonicalizeFallbackLocal yes\n"
        "Match canonical host 127.0.0.1\n  IdentityFile {key}\n",
        *("", True, ""),
    ),
    "a hashed name": (
        "Host *\n  StrictHostKeyChecking yes\n  HashKnownHosts yes\n" + KEY,
        *("|1|qcmnYTcyyoMBvyg90hgPaBjqXdk=|yyyyyyyyyyyyyyyyyyyyyyyyyyY= {board_key}\n", False),
        "its host key is unknown",
    ),
    "HostKeyAlgorithms": (
        "Host *\n  HostKeyAlgorithms rsa-sha2-512\n" + KEY,
        *("", False, "in common (no acceptable host key); see HostKeyAlgorithms of ssh_config"),
    ),
    "HostKeyAlgorithms that nobody here knows": (
        "Host *\n  HostKeyAlgorithms sk-ssh-ed25519@openssh.com\n" + KEY,
        *("", False, "of HostKeyAlgorithms in ssh_config none is known here (sk-ssh-"),
    ),
    "HostKeyAlgorithms, its own": (
        "Host *\n  HostKeyAlgorithms ssh-ed25519\n" + KEY,
        *("", True, ""),
    ),
    "Ciphers": ("Host *\n  Ciphers aes256-gcm@openssh.com\n" + KEY, "", True, ""),
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
    ssh, we = both(world, tmp_path, text, known)
    assert (ssh, we == "") == (is_let_in, is_let_in), we
    assert words in we


def test_a_broken_ssh_config_in_the_words_of_ssh(tmp_path) -> None:
    config = tmp_path / "config"
    config.write_text("Host board\n  Prot 22\n")
    assert "Bad configuration option: prot" in why_we_do_not(config)


def test_a_remote_command_is_for_terminals_as_it_is_to_scp(world, tmp_path) -> None:
    """`ssh HOST COMMAND` itself refuses both at once; whoever types `ssh board` wants his tmux."""
    config = tmp_path / "config"
    text = "Host board\n  RemoteCommand tmux attach\n  RequestTTY yes\n" + KEY + BASE
    config.write_text(world.fill(text, tmp_path / "known"))
    assert why_we_do_not(config) == ""


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
    assert read == replace(asked, host_key_algorithms=frozenset())  # ssh's own, not in a file
    assert why_we_do_not(config) == ""


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
