"""Processes of a host as the controller handles them: start, list, clear away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.agent.facts import ROOT
from pytest_dllama.hosts.agent.supervisor import signal_group, start_ticks

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


class AgentError(RuntimeError):
    """A fault that the controller shows."""


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Start a process that outlives this connection; answers once it runs.

    With a `key` the process that runs there of the same key is taken; another one is ended.
    """
    folder, key = Path(request["folder"]), request.get("key")
    if key is not None and folder.exists():
        if (found := _kept(folder, key)) is not None:
            return found
        _stop(folder)
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=False)
    (folder / "lease").touch()
    spec = folder / "spec.json"
    with os.fdopen(os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        spec_keys = ("command", "env", "lease_s")
        json.dump({name: request[name] for name in spec_keys} | {"key": key}, file)
    launcher = _launch([sys.executable, sys.argv[0], "supervise", str(folder)], folder)
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s:
        if (folder / "failed").exists():
            reason = (folder / "failed").read_text()
            shutil.rmtree(folder, ignore_errors=True)
            raise AgentError(reason)
        if (folder / "process.json").exists():
            about = json.loads((folder / "process.json").read_text())
            return {
                "pid": about["pid"],
                "launcher": launcher,
                "taken": False,
                "samples_bytes": 0,
            }
        time.sleep(0.02)
    raise AgentError(f"its supervisor did not come up within {START_TIMEOUT_S:g} s")


def _kept(folder: Path, key: str) -> dict[str, Any] | None:
    """A process of an earlier session that lives and was made of the same."""
    about = _about(folder)
    if about is None or about.get("key") != key:
        return None
    if not (is_alive(about, "supervisor") and is_alive(about, "")):
        return None
    os.utime(folder / "lease")
    samples = folder / "samples.log"
    n_bytes = samples.stat().st_size if samples.exists() else 0
    return {"pid": about["pid"], "launcher": "kept", "taken": True, "samples_bytes": n_bytes}


def _launch(command: list[str], folder: Path) -> str:
    """Detach by the user's systemd where it outlives a login, by a session of its own elsewhere."""
    if _has_lingering_systemd():
        unit = f"pytest-dllama-{folder.parent.name}-{folder.name}"
        run = ["systemd-run", "--user", "--quiet", "--collect", f"--unit={unit}", *command]
        if subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return "systemd-run"
    with (folder / "supervisor.log").open("wb") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )
    return "setsid"


def _has_lingering_systemd() -> bool:
    """A user's systemd without lingering ends with the last login, and its services with it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    lingers = user and (ROOT / f"var/lib/systemd/linger/{user}").exists()
    if not lingers or not Path(runtime, "systemd", "private").exists():
        return False
    os.environ["XDG_RUNTIME_DIR"] = runtime
    return shutil.which("systemd-run") is not None


def is_alive(about: dict[str, Any], who: str) -> bool:
    """Whether the process, or its supervisor, still is the one that was started."""
    pid = about["supervisor" if who else "pid"]
    started = about["supervisor_start" if who else "start"]
    return started is not None and start_ticks(pid) == started


def leftovers(request: dict[str, Any]) -> dict[str, Any]:
    """Process folders below the run folder, with whether they still live."""
    found = []
    for folder in sorted(Path(request["run_folder"]).glob("*/*")):
        about = _about(folder)
        alive = about is not None and (is_alive(about, "supervisor") or is_alive(about, ""))
        found.append(
            {
                "session": folder.parent.name,
                "name": folder.name,
                "pid": about["pid"] if about else None,
                "alive": alive,
                "age_s": max(time.time() - folder.stat().st_mtime, 0.0),
            }
        )
    return {"processes": found}


def clear(request: dict[str, Any]) -> dict[str, Any]:
    """Stop processes and remove their folders: of one session, or of all."""
    run_folder = Path(request["run_folder"])
    sessions = [run_folder / request["session"]] if request.get("session") else run_folder.glob("*")
    removed = []
    for session in sorted(sessions):
        for folder in sorted(session.glob("*")):
            _stop(folder)
            removed.append(f"{session.name}/{folder.name}")
        shutil.rmtree(session, ignore_errors=True)
    with suppress(OSError):
        run_folder.rmdir()
    return {"removed": removed}


def _stop(folder: Path) -> None:
    """End a supervisor with its process; a process without one directly."""
    about = _about(folder)
    if about is None:
        return
    if is_alive(about, "supervisor"):
        with suppress(ProcessLookupError):
            os.kill(about["supervisor"], signal.SIGTERM)
    elif is_alive(about, ""):
        signal_group(about["pid"], signal.SIGTERM)
    until_s = time.monotonic() + STOP_TIMEOUT_S
    while is_alive(about, "supervisor") or is_alive(about, ""):
        if time.monotonic() > until_s:
            signal_group(about["pid"], signal.SIGKILL)
            return
        time.sleep(0.05)


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        about: dict[str, Any] = json.loads((folder / "process.json").read_text())
    except (OSError, ValueError):
        return None
    return about
