"""The token of workers that stay between sessions: one a hosts file, kept in the user's folder."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from platformdirs import user_state_path

KEPT_SESSION = "kept"  # stands before a host's name, in place of a session of one run


def kept_token(hosts_file: Path) -> str:
    """The token, made at first use; mode 0600."""
    file = _file(hosts_file)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return file.read_text(encoding="ascii").strip() or _made_anew(hosts_file)


def _made_anew(hosts_file: Path) -> str:
    """An empty file is what a full disk or a killed program leaves."""
    forget_token(hosts_file)
    return kept_token(hosts_file)


def forget_token(hosts_file: Path) -> None:
    """The next session makes a new one, and takes no worker of an earlier one."""
    _file(hosts_file).unlink(missing_ok=True)


def _file(hosts_file: Path) -> Path:
    name = hashlib.sha256(str(hosts_file.resolve()).encode()).hexdigest()[:16]
    return user_state_path("pytest-dllama") / "kept" / f"{name}.token"
