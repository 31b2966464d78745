"""Files of the controller on a host: sent once, known again by what they were made of."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.ssh.agent_client import AgentClient

SPARE_BYTES = 64 << 20  # room that is left free
_CHUNK = 1 << 20

Report = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Nothing."""


def upload_file(agent: AgentClient, file: Path, report: Report = _silent) -> str:
    """A file of ours on the host; sent unless it is there. Returns its path there.

    A note beside it tells the source's size, time and digest: an unchanged source needs no reading.

    Raises:
        HostError: no room, or it cannot be written.
    """
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    folder, note = f"{agent.folder}/models/{place}", f"{file.name}.source"
    stat = file.stat()
    there = agent.ask("place", folder=folder, texts=[note])
    size = there["sizes"].get(file.name)
    known = json.loads(there["texts"][note] or "{}") if size == stat.st_size else {}
    if known.get("mtime_ns") == stat.st_mtime_ns:
        return f"{folder}/{file.name}"
    digest = digest_of(file)
    if known.get("sha256") != digest:
        if size is not None:
            there = agent.ask("place", folder=folder, remove=[file.name, note])
        check_room(agent, there["free_bytes"], stat.st_size, file.name)
        _send(agent, file, folder, digest, report)
    about = {"sha256": digest, "mtime_ns": stat.st_mtime_ns}
    agent.ask("place", folder=folder, write={note: json.dumps(about)})
    return f"{folder}/{file.name}"


def _send(agent: AgentClient, file: Path, folder: str, digest: str, report: Report) -> None:
    total = file.stat().st_size
    with file.open("rb") as source:
        agent.connection.upload(source, f"{folder}/{file.name}", lambda done: report(done, total))
    found = agent.ask("place", timeout_s=1800, folder=folder, digests=[file.name])["digests"]
    if found[file.name] != digest:
        agent.ask("place", folder=folder, remove=[file.name])
        raise HostError(
            f"{agent.connection.where}: {file.name} arrived damaged (sha256 {found[file.name]}, "
            f"expected {digest}); check its SD card and memory"
        )


def check_room(agent: AgentClient, free_bytes: int, needed_bytes: int, what: str) -> None:
    """Raise HostError unless it fits."""
    if needed_bytes + SPARE_BYTES > free_bytes:
        raise HostError(
            f"{agent.connection.where}: {what} needs {needed_bytes / 1e6:.0f} MB and "
            f"{agent.folder} has {free_bytes / 1e6:.0f} MB free ({SPARE_BYTES / 1e6:.0f} MB stay "
            f"free); make room, remove old environments with `pytest-dllama hosts clean --all`, or "
            "name a larger disk with `folder`"
        )


def upload_data(agent: AgentClient, name: str, data: bytes, folder: str) -> str:
    """Bytes of ours as a file of that folder; sent unless one of this size is there."""
    there = agent.ask("place", folder=folder)
    if there["sizes"].get(name) != len(data):
        check_room(agent, there["free_bytes"], len(data), name)
        agent.connection.upload(io.BytesIO(data), f"{folder}/{name}")
    return f"{folder}/{name}"


def digest_of(file: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
