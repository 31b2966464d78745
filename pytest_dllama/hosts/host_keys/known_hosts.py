"""The files that hold the keys of hosts: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

Knows nothing of connections. A line that cannot be read hides no other one; a key is added by
writing the file anew beside the old one, so that nobody ever sees half of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.files.locks import locked

COMMAND_TIMEOUT_S = 10.0
AUTHORITY, REVOKED = "@cert-authority", "@revoked"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A line that names a host."""

    kind: str  # as in ssh-ed25519
    blob: str  # base64
    where: str  # file:line
    marker: str = ""


class KnownHosts:
    """Several files together; `broken` names the lines that cannot be read."""

    def __init__(self, files: Sequence[Path], command: Sequence[str] = ()) -> None:
        """Read the files, and what a KnownHostsCommand prints."""
        self.broken: list[str] = []
        self._lines: list[tuple[str, KnownKey]] = []  # names, key
        for file in files:
            self._read(file)
        if command:
            self._ask(command)

    def _read(self, file: Path) -> None:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self.broken.append(f"{file} cannot be read: {error.strerror}")
            return
        self._take(data, str(file))

    def _ask(self, command: Sequence[str]) -> None:
        words = shlex.join(command)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            self.broken.append(f"KnownHostsCommand {words} cannot be asked: {error}")
            return
        if done.returncode != 0:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())
            self.broken.append(f"KnownHostsCommand {words}: exit code {done.returncode}: {said}")
            return
        self._take(done.stdout, f"KnownHostsCommand {words}")

    def _take(self, data: bytes, file: str) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for number, line in enumerate(text.split("\n"), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            marker = words.pop(0) if words[0].startswith("@") else ""
            where = f"{file}:{number}"
            names, kind, blob, *_ = (*words, "", "", "")
            if marker in ("", AUTHORITY, REVOKED) and _is_key(kind, blob):
                self._lines.append((names, KnownKey(kind, blob, where, marker)))
            else:
                self.broken.append(f"{where} is no line of known_hosts and is passed over")

    def keys(self, name: str) -> list[KnownKey]:
        """The lines about a host; `name` is HOST, or [HOST]:PORT when the port is not 22."""
        return [key for names, key in self._lines if _matches(names, name)]


def _is_key(kind: str, blob: str) -> bool:
    """Whether the blob is whole: strings with their lengths, the first one its own kind.

    A line that was cut is none, or the host would seem to have another key.
    """
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    strings = []
    while len(data) >= 4:
        end = 4 + int.from_bytes(data[:4], "big")
        if end > len(data):
            return False
        strings.append(data[4:end])
        data = data[end:]
    return not data and len(strings) > 1 and strings[0] == kind.encode("utf-8", "surrogateescape")


def _matches(names: str, name: str) -> bool:
    """Whether one of the patterns takes the name and none excludes it.

    >>> _matches("*.lan,!pi9.lan", "pi1.lan"), _matches("*.lan,!pi9.lan", "pi9.lan")
    (True, False)
    """
    if names.startswith("|1|"):
        return _matches_hash(names, name)
    found = False
    for pattern in names.split(","):
        wanted = re.escape(pattern.lstrip("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(wanted, name, re.IGNORECASE):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def _matches_hash(names: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in names.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), digest)


def hashed_name(name: str) -> str:
    """A name that the file does not tell (HashKnownHosts)."""
    salt = secrets.token_bytes(20)
    parts = (salt, hmac.digest(salt, name.encode(), hashlib.sha1))
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in parts)


def add_key(file: Path, names: str, kind: str, blob: str) -> None:
    """Add a line; the file is written whole and renamed, its mode and its link stay.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = file.resolve()
    line = f"{names} {kind} {blob}\n".encode()
    if file.exists() and not file.is_file():  # /dev/null is a usual way to keep none
        with file.open("ab") as stream:
            stream.write(line)
        return
    with locked(file.parent):
        old = file.read_bytes() if file.exists() else b""
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o600
        if old and not old.endswith(b"\n"):
            old += b"\n"
        _replace(file, old + line, mode)


def _replace(file: Path, data: bytes, mode: int) -> None:
    handle, part = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(part, file)
    except BaseException:
        os.unlink(part)
        raise
