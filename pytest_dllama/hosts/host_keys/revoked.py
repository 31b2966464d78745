"""RevokedHostKeys of ssh_config: keys that no host may show any more.

A text of public keys, one a line, or OpenSSH's binary list (KRL): that one `ssh-keygen` can read.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

_KRL_MAGIC = b"SSHKRL\n\0"
_ASK_TIMEOUT_S = 10.0
_IS_REVOKED = 1  # exit code of `ssh-keygen -Q`


def why_revoked(file: Path, kind: str, blob: str) -> str:
    """Why a key is not to be taken; empty where the list does not have it.

    As with `ssh`, a list that cannot be read revokes every key.

    Args:
        file: the list.
        kind: as in ssh-ed25519.
        blob: the key, base64.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        return f"{file}, ssh_config's RevokedHostKeys, cannot be read: {error.strerror}"
    if data.startswith(_KRL_MAGIC):
        return _asked(file, kind, blob)
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        if not line.lstrip().startswith("#") and blob in line.split():
            return f"it is revoked by {file}:{number}"
    return ""


def _asked(file: Path, kind: str, blob: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".pub") as key:
        key.write(f"{kind} {blob}\n")
        key.flush()
        try:
            done = subprocess.run(
                ["ssh-keygen", "-Q", "-f", file, key.name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ASK_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"ssh-keygen cannot tell whether {file} revokes it: {error}"
    if done.returncode == 0:
        return ""
    if done.returncode == _IS_REVOKED and "REVOKED" in done.stdout:
        return f"it is revoked by {file}"
    words = " ".join((done.stderr or done.stdout).split())
    return f"ssh-keygen cannot tell whether {file} revokes it: {words}"
