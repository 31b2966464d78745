"""The shared secret (token) of a cluster's nodes: who does not hold it is not served.

Looked for in this order: a file named on the command line, the environment, a file of this user
that is made at its first use. Copy that file to the other hosts of a cluster.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from dllama_engine.errors import HandshakeError
from dllama_engine.system import process
from dllama_engine.system.regular_file import read_regular

ENVIRONMENT_NAME = "DLLAMA_PY_TOKEN"
MIN_TOKEN_BYTES = 8
MAX_TOKEN_BYTES = 4096


def cluster_token(token_file: str | os.PathLike[str] | None = None) -> bytes:
    """The cluster's token.

    Raises:
        HandshakeError: no readable token, one too short, or a user's file that others may read.
    """
    if token_file is not None:
        return _read(Path(token_file))
    if from_environment := os.environ.get(ENVIRONMENT_NAME):
        return _checked(from_environment.encode(), f"the environment's {ENVIRONMENT_NAME}")
    path = user_token_path()
    if path is None:
        raise HandshakeError(
            "this user has no home folder in which the cluster's token could be kept; "
            f"give one with --token-file or {ENVIRONMENT_NAME}"
        )
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise HandshakeError(f"{path} may be read by other users; run: chmod 600 {path}")
    return _read(path)


def user_token_path() -> Path | None:
    """Where this user's own token stands; None for a user without a home."""
    folder = process.user_folder("XDG_CONFIG_HOME", ".config")
    return folder and folder / "dllama-py" / "token"


def _create(path: Path) -> None:
    """Write a new token; of several processes that try at once, one wins and all read that one."""
    partial = path.with_name(f".token.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(partial, path)
    except OSError as error:
        raise HandshakeError(
            f"{path}: cannot make the cluster's token ({error.strerror or error}); "
            f"give one with --token-file or {ENVIRONMENT_NAME}"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def _read(path: Path) -> bytes:
    try:
        data = read_regular(path, MAX_TOKEN_BYTES)
    except OSError as error:
        raise HandshakeError(
            f"{path}: cannot read the cluster's token ({error.strerror or error})"
        ) from None
    return _checked(data, str(path))


def _checked(data: bytes, where: str) -> bytes:
    token = data.strip()
    if not MIN_TOKEN_BYTES <= len(token) <= MAX_TOKEN_BYTES:
        raise HandshakeError(
            f"the token in {where} has {len(token)} bytes, "
            f"expected {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES}"
        )
    return token
