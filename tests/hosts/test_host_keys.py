"""Certificates, lists of revoked keys and lines of known_hosts, without any connection."""

from __future__ import annotations

import base64
import doctest
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.hosts.host_keys import known_hosts
from pytest_dllama.hosts.host_keys.certificate import (
    HostCertificate,
    public_key_of,
    read_certificate,
)
from pytest_dllama.hosts.host_keys.known_hosts import KnownHosts
from pytest_dllama.hosts.host_keys.revoked import why_revoked
from pytest_dllama.hosts.ssh import settings
from tests.hosts import sshd
from tests.hosts.conftest import skip_or_fail

KINDS = ("ed25519", "ecdsa", "rsa")


def _public(file: Path) -> str:
    return file.with_name(f"{file.name}.pub").read_text().split()[1]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key of each kind, with a certificate for `pi1.lan` by the authority `ca`."""
    skip_or_fail(sshd.missing())
    folder = tmp_path_factory.mktemp("keys")
    make = ["ssh-keygen", "-q", "-N", ""]
    subprocess.run([*make, "-t", "ed25519", "-f", folder / "ca"], check=True)
    for kind in KINDS:
        size = ["-b", "2048"] if kind == "rsa" else []  # the least that is taken, and quick
        subprocess.run([*make, "-t", kind, *size, "-f", folder / kind], check=True)
        words = ["-s", folder / "ca", "-h", "-I", "it", "-n", "pi1.lan,pi1", "-V", "+52w"]
        subprocess.run(["ssh-keygen", "-q", *words, folder / f"{kind}.pub"], check=True)
    return folder


def _certificate(keys: Path, kind: str = "ed25519") -> tuple[bytes, HostCertificate]:
    blob = base64.b64decode((keys / f"{kind}-cert.pub").read_text().split()[1])
    found = read_certificate(blob)
    assert found is not None
    return blob, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_vouches_for_its_names_and_its_key(keys: Path, kind: str) -> None:
    blob, found = _certificate(keys, kind)
    trusted = [_public(keys / "ca")]
    assert (found.key_id, found.principals) == ("it", ("pi1.lan", "pi1"))
    assert found.fault("pi1.lan", trusted) == ""
    assert found.fault("pi2.lan", trusted) == "it is for pi1.lan, pi1, not for pi2.lan"
    assert base64.b64encode(public_key_of(blob)).decode() == _public(keys / kind)
    for at in range(0, len(blob), 7):  # damaged anywhere: unreadable, or its signature fails
        for damaged in (blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :], blob[:at]):
            read = read_certificate(damaged)
            assert read is None or read.fault("pi1.lan", trusted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"authority": "another"}, "signed by an authority that known_hosts does not name"),
        ({"is_signed": False}, "its signature does not fit"),
        ({"kind": 1}, "it is a user's, not a host's"),
        ({"critical": b"x"}, "it has critical options"),
        ({"valid_after_s": 2_000}, "it is not valid before 1970-01-01"),
        ({"valid_before_s": 1_000}, "it was valid until 1970-01-01"),
        ({"valid_after_s": 2**64 - 1}, "it is not valid before 2514-"),
        ({"principals": ()}, "it is for no name, not for pi1"),
    ],
)
def test_why_a_certificate_does_not_do(keys: Path, change: dict[str, object], words: str) -> None:
    found = replace(_certificate(keys)[1], valid_after_s=0, valid_before_s=10_000)
    trusted = [_public(keys / "ca")]
    assert found.fault("pi1", trusted, now_s=1_000) == ""
    assert words in replace(found, **change).fault("pi1", trusted, now_s=1_000)


def test_a_list_of_revoked_keys_is_a_text_or_binary(keys: Path, tmp_path: Path) -> None:
    text, binary, broken = tmp_path / "text", tmp_path / "binary", tmp_path / "broken"
    text.write_text(f"# {_public(keys / 'rsa')}\nssh-ed25519 {_public(keys / 'ed25519')} old pi\n")
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", binary, keys / "ed25519.pub"], check=True)
    broken.write_bytes(binary.read_bytes()[:60])
    revoked, good = ("ssh-ed25519", _public(keys / "ed25519")), ("ssh-rsa", _public(keys / "rsa"))
    assert why_revoked(text, *revoked) == f"it is revoked by {text}:2"
    assert why_revoked(binary, *revoked) == f"it is revoked by {binary}"
    assert why_revoked(text, *good) == why_revoked(binary, *good) == ""
    assert "cannot tell whether" in why_revoked(broken, *good)
    assert "No such file" in why_revoked(tmp_path / "missing", *good)


def test_a_key_that_was_cut_is_no_key(keys: Path, tmp_path: Path) -> None:
    """Else the host would seem to have another one."""
    file = tmp_path / "known_hosts"
    file.write_text(f"pi1 ssh-ed25519 {_public(keys / 'ed25519')[:40]}\n")
    known = KnownHosts([file])
    assert known.keys("pi1") == []
    assert known.broken == [f"{file}:1 is no line of known_hosts and is passed over"]


def test_a_command_tells_keys_as_well(keys: Path) -> None:
    line = f"pi1 ssh-ed25519 {_public(keys / 'ed25519')}"
    (key,) = KnownHosts([], ["echo", line]).keys("pi1")
    assert (key.blob, key.where) == (
        _public(keys / "ed25519"), f"KnownHostsCommand echo '{line}':1"
    )  # fmt: skip
    assert "exit code 1" in KnownHosts([], ["false"]).broken[0]
    assert "cannot be asked" in KnownHosts([], ["/nowhere/program"]).broken[0]


def test_doctests() -> None:
    for module in (known_hosts, settings):
        assert doctest.testmod(module).failed == 0


def test_tokens_of_jump_hosts_and_paths(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host board\n  User me\n  ProxyJump %r@gate\n  Port 2200\n"
        '  UserKnownHostsFile "/tmp/my keys/it\'s" ~/.ssh/more\n  BindAddress 127.0.0.2\n'
        "  KnownHostsCommand /bin/cat /keys/%H\n"
    )
    found = settings.resolve("board", config)
    assert found.jumps == ("me@gate",)
    assert found.user_known_hosts == (
        Path("/tmp/my keys/it's"), Path("~/.ssh/more").expanduser()
    )  # fmt: skip
    assert found.bind_address == "127.0.0.2"
    assert found.known_hosts_command == ("/bin/cat", "/keys/board")
