"""Keeps one process on the host while somebody holds its lease, whatever becomes of the network.

The process folder holds all state: `spec.json` (read once, then removed: it carries secrets),
`process.json` (ids), `stdout.log`, `stderr.log`, `samples.log` (temperature and clocks), `lease`
(touched by the controller's follower), `exit_code` (written last).
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from pytest_dllama.hosts.agent.facts import sample

POLL_S = 1.0
SAMPLE_S = 5.0
GRACE_S = 5.0


class _Told(Exception):
    """SIGTERM: the supervisor is asked to end its process."""


def supervise(folder: Path) -> None:
    """Run the folder's process to its end."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    spec_file = folder / "spec.json"
    spec = json.loads(spec_file.read_text())
    spec_file.unlink()
    try:
        child = _spawn(folder, spec)
    except OSError as error:
        put(folder / "failed", f"{error.strerror}: {error.filename}")
        return
    about = {"pid": child.pid, "start": start_ticks(child.pid)}
    about |= {"supervisor": os.getpid(), "supervisor_start": start_ticks(os.getpid())}
    put(
        folder / "process.json",
        json.dumps(about | {"command": spec["command"][0], "key": spec.get("key")}),
    )
    try:
        reason = _watch(folder, child, float(spec["lease_s"]))
    except _Told:
        reason = "told to stop"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end(child)
    put(folder / "reason", reason)
    largest_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of its whole family
    put(folder / "peak_rss_bytes", str(largest_kib * 1024))
    put(folder / "exit_code", str(child.returncode))


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise _Told


def as_bytes(word: str) -> bytes:
    """A word of a command in UTF-8, whatever the locale; what came as a byte goes as that byte."""
    return word.encode("utf-8", "surrogateescape")


def _spawn(folder: Path, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    """The pipe to its standard input ends with this supervisor, and the process with the pipe."""
    with (folder / "stdout.log").open("wb") as out, (folder / "stderr.log").open("wb") as err:
        return subprocess.Popen(
            [as_bytes(word) for word in spec["command"]],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONUTF8": "1", **spec["env"]},
            cwd=folder,
            start_new_session=True,
        )


def _watch(folder: Path, child: subprocess.Popen[bytes], lease_s: float) -> str:
    """Wait for the process's end or its lease's; times of file and clock are never compared."""
    lease = folder / "lease"
    seen, since_s, sampled_s = None, time.monotonic(), -SAMPLE_S
    descriptor = _open_process(child.pid)
    while child.poll() is None:
        try:
            touched = lease.stat().st_mtime_ns
        except OSError:
            return "its folder was removed"
        if touched != seen:
            seen, since_s = touched, time.monotonic()
        if time.monotonic() - since_s > lease_s:
            return f"nobody asked for it for {lease_s:g} s"
        if time.monotonic() - sampled_s > SAMPLE_S:
            sampled_s = time.monotonic()
            with (folder / "samples.log").open("a") as samples:
                samples.write(json.dumps(sample({})) + "\n")
        if descriptor is None:
            time.sleep(POLL_S)
        else:
            select.select([descriptor], [], [], POLL_S)
    return "it ended"


def _open_process(pid: int) -> int | None:
    with suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        signal_group(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    signal_group(child.pid, signal.SIGKILL)  # children that it left behind
    child.wait()


def signal_group(pid: int, number: int) -> None:
    """Signal a process and its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def start_ticks(pid: int) -> int | None:
    """When a process started, in ticks since the boot: with its id it names it for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])  # a zombie has ended


def put(file: Path, text: str) -> None:
    """Write a file whole, also where boards that share a disk write it at the same time."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        partial.write_text(text)
        partial.rename(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
