"""How we log in: the keys that `ssh` would offer, in its order; a passphrase is asked for once."""

from __future__ import annotations

import base64
import contextlib
import copy
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob

from pytest_dllama.hosts.host_keys.certificate import SUFFIX, public_key_of
from pytest_dllama.hosts.ssh.settings import SshSettings
from pytest_dllama.hosts.terminal import ask_secret, has_terminal, terminal

PASSPHRASE_TRIES = 3
AGENT_TIMEOUT_S = 60.0  # a person may have to touch a token
_opened: dict[Path, paramiko.PKey] = {}  # keys whose passphrase was given


class Login:
    """Offers keys until one is taken; what paramiko calls an authentication strategy.

    As `ssh` does: keys of the agent that ssh_config names, the agent's others unless
    IdentitiesOnly, then the files. A file that is not there is passed over.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._hints: list[str] = []
        self._agent: socket.socket | None = None

    def authenticate(self, transport: Any) -> list[str]:
        """Log in.

        Raises:
            paramiko.AuthenticationException: what was offered, and what could not be.
        """
        with contextlib.suppress(paramiko.BadAuthenticationType):  # as ssh asks what is allowed
            transport.auth_none(self._settings.user)
            return []
        try:
            self._offer(transport)
        finally:
            if self._agent is not None:
                self._agent.close()
        return []

    def _offer(self, transport: Any) -> None:
        if not self._settings.offers_keys:
            raise paramiko.AuthenticationException(
                "ssh_config forbids keys (PubkeyAuthentication no, or PreferredAuthentications "
                "without publickey), and no password is ever typed here"
            )
        offered = []
        for label, key in self._keys():
            offered.append(label)
            try:
                more = transport.auth_publickey(self._settings.user, key)
            except paramiko.BadAuthenticationType as error:
                raise paramiko.AuthenticationException(
                    f"it takes no keys, but {', '.join(error.allowed_types)}"
                ) from None
            except (paramiko.SSHException, EOFError):
                if not transport.is_active():
                    if len(offered) == 1:  # a link that was cut
                        raise
                    raise paramiko.AuthenticationException(_too_many(offered)) from None
                continue
            if more:
                raise paramiko.AuthenticationException(f"after a key it wants {', '.join(more)}")
            return
        tried = f"it took none of {', '.join(offered)}" if offered else "there was no key to offer"
        raise paramiko.AuthenticationException("; ".join([tried, *self._hints]))

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        files = [file for file in self._settings.identity_files if _is_there(file)]
        named = {_public_part(file): file for file in files}
        held = {key.blob: key for key in self._agent_keys()}
        certificates = self._certificates()
        for public, file in named.items():
            if public in held:
                for where, certificate in certificates.get(public, ()):
                    held[public].load_certificate(certificate)
                    yield f"{where} (agent)", held[public]
                    held[public].public_blob = None
                yield f"{file} (agent)", held[public]
        if not self._settings.identities_only:
            for public, key in held.items():
                if public not in named:
                    yield f"{key.get_name()} of the agent", key
        for file in files:
            if _public_part(file) in held or not file.is_file() or _is_public(file):
                continue
            if (key := self._from_file(file)) is not None:
                for where, certificate in certificates.get(key.asbytes(), ()):
                    yield str(where), _certified(key, certificate)
                yield str(file), key

    def _certificates(self) -> dict[bytes, list[tuple[Path, str]]]:
        """Files of certificates and their text, by the public key that they are for.

        Those that ssh_config names, and the one beside each key.
        """
        beside = (file.with_name(f"{file.name}-cert.pub") for file in self._settings.identity_files)
        found: dict[bytes, list[tuple[Path, str]]] = {}
        for file in dict.fromkeys((*self._settings.certificate_files, *beside)):
            try:
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                blob = base64.b64decode(text.split()[1])
                found.setdefault(public_key_of(blob), []).append((file, text))
            except FileNotFoundError:
                continue
            except Exception as error:  # whatever two libraries make of a broken file
                self._hints.append(f"{file} is no certificate that can be read ({_line(error)})")
        return found

    def _agent_keys(self) -> tuple[Any, ...]:
        """Keys of the agent at its socket; none where nobody answers."""
        path = self._settings.identity_agent
        if path is None:
            return ()
        self._agent = connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(AGENT_TIMEOUT_S)
        agent = AgentSSH()
        try:
            connection.connect(path)
            agent._connect(connection)  # its own constructor knows one socket only
        except (OSError, paramiko.SSHException) as error:
            self._hints.append(f"the agent at {path} does not answer ({error})")
            return ()
        keys = tuple(agent.get_keys())
        for key in keys:
            if key.get_name().endswith(SUFFIX):  # paramiko would show the bare key
                key.public_blob = PublicBlob(key.get_name(), key.blob)
        return keys

    def _from_file(self, file: Path) -> paramiko.PKey | None:
        if file in _opened:
            return _opened[file]
        if reason := _too_open(file):
            self._hints.append(reason)
            return None
        try:
            return _load(file)
        except _Locked:
            return self._unlocked(file)
        except Exception as error:  # whatever two libraries make of a broken file
            self._hints.append(f"{file} is no key that can be read ({_line(error)})")
            return None

    def _unlocked(self, file: Path) -> paramiko.PKey | None:
        """Ask for the passphrase on the terminal, as `ssh` does; once for all hosts."""
        if not self._settings.asks or not has_terminal():
            self._hints.append(f"{file} has a passphrase; try: ssh-add {file}")
            return None
        with terminal():
            if file in _opened:
                return _opened[file]
            for _ in range(PASSPHRASE_TRIES):
                words = ask_secret(f"Passphrase of {file}: ")
                if not words:
                    break
                with contextlib.suppress(Exception):  # of two libraries: it does not fit
                    _opened[file] = _load(file, words)
                    return _opened[file]
            self._hints.append(f"the passphrase of {file} was not given")
            return None


class _Locked(Exception):
    """A key with a passphrase."""


def _load(file: Path, passphrase: str | None = None) -> paramiko.PKey:
    try:
        key = paramiko.PKey.from_path(file, passphrase and passphrase.encode())
        key.public_blob = None  # a certificate beside it is offered by itself
        return key
    except (TypeError, paramiko.PasswordRequiredException):  # no passphrase, and one is needed
        raise _Locked from None


def _certified(key: Any, certificate: str) -> Any:
    """The same key, which shows a certificate."""
    shown = copy.copy(key)
    shown.load_certificate(certificate)
    return shown


def _too_open(file: Path) -> str:
    """A private key that others can read is passed over, as `ssh` does."""
    with contextlib.suppress(OSError):
        state = file.stat()
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            mode = f"{stat.S_IMODE(state.st_mode):04o}"
            return f"{file} is passed over, for others can read it (mode {mode}); chmod 600 {file}"
    return ""


def _is_there(file: Path) -> bool:
    """Its public half is enough where an agent, or a token behind it, has the other."""
    return file.is_file() or file.with_name(f"{file.name}.pub").is_file()


def _is_public(file: Path) -> bool:
    with contextlib.suppress(OSError), file.open("rb") as stream:
        return stream.read(8).startswith((b"ssh-", b"ecdsa-", b"sk-"))
    return False


def _public_part(file: Path) -> bytes:
    """The public key of a private one's file, which needs no passphrase; empty: not known.

    From the file beside it, else from the head of OpenSSH's own format (PROTOCOL.key).
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        public = file if _is_public(file) else file.with_name(f"{file.name}.pub")
        return base64.b64decode(public.read_text().split()[1])
    with contextlib.suppress(OSError, ValueError):
        lines = file.read_text(encoding="ascii").split("-----")
        rest = base64.b64decode(lines[2]) if len(lines) > 2 else b""
        magic, _, rest = rest.partition(b"\0")
        if magic == b"openssh-key-v1":
            for _ in range(3):  # cipher, key derivation, its options
                _, rest = _string(rest)
            return _string(rest[4:])[0]
    return f"{file}".encode()


def _string(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return data[4:end], data[end:]


def _too_many(offered: Sequence[str]) -> str:
    return (
        f"it hung up after {len(offered)} keys ({', '.join(offered)}): an agent with more keys "
        "than it takes (MaxAuthTries) needs `IdentitiesOnly yes` in ssh_config, or `key` in the "
        "hosts file"
    )


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
