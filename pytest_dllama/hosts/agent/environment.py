"""The engine's own Python environment on a host: made once for each wheel, in the working folder.

Whoever comes first makes it, others wait: hosts may share a home. What was cut short is made anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_dllama.hosts.agent.processes import AgentError

READY = "ready.json"


def status(request: dict[str, Any]) -> dict[str, Any]:
    """What of the environment is there: `ready` tells what it was made of, None that it is not."""
    folder = Path(request["environment"])
    try:
        ready = json.loads((folder / READY).read_text())
    except (OSError, ValueError):
        ready = None
    whole = ready is not None and (folder / "bin/python").exists()
    kernels = sorted(path.name for path in folder.glob("kernels-*")) if whole else []
    return {"ready": ready if whole else None, "kernels": kernels}


def make_venv(request: dict[str, Any]) -> dict[str, Any]:
    """An empty environment, unless a whole one is there.

    Raises:
        AgentError: it cannot be made; with the reason and what to install.
    """
    with _locked(request) as folder:
        if status(request)["ready"] is not None:
            return {"made": False}
        shutil.rmtree(folder, ignore_errors=True)
        python, what = request["python"], f"an environment with {request['python']}"
        done = _run([python, "-m", "venv", str(folder)], request)
        if done.returncode != 0 and "ensurepip" in done.stdout + done.stderr:
            _without_pip(folder, request)
        elif done.returncode != 0:
            raise AgentError(f"{what} cannot be made: {_last_words(done)}")
    return {"made": True}


def _without_pip(folder: Path, request: dict[str, Any]) -> None:
    """Debian without python3-venv has no pip to put in: the wheelhouse's does as well."""
    shutil.rmtree(folder, ignore_errors=True)
    done = _run([request["python"], "-m", "venv", "--without-pip", str(folder)], request)
    if done.returncode != 0 or _pip_wheel(request) is None:
        raise AgentError(
            "its python has neither pip nor ensurepip; run there: sudo apt install python3-venv, "
            "or give a wheelhouse that holds pip"
        )


def _pip_wheel(request: dict[str, Any]) -> Path | None:
    if not request.get("wheelhouse"):
        return None
    return max(Path(request["wheelhouse"]).glob("pip-*.whl"), default=None)


def install(request: dict[str, Any]) -> dict[str, Any]:
    """Install the wheel, what it needs, and `also`: from the wheelhouse, or else the index.

    Raises:
        AgentError: pip failed; with its last words.
    """
    with _locked(request) as folder:
        found = status(request)["ready"]
        if found is not None and has_all(found, request):
            return {"made": False, **found}
        done = _run([*_pip(folder, request), *_arguments(request)], request)
        if done.returncode != 0:
            raise AgentError(_install_fault(done, request))
        ready = _versions(folder, request) | {"also": request.get("also", [])}
        (folder / READY).write_text(json.dumps(ready))
    return {"made": True, **ready}


def has_all(ready: dict[str, Any], request: dict[str, Any]) -> bool:
    """Whether what is asked for beside the wheel is there too."""
    return set(request.get("also", ())) <= set(ready.get("also", ()))


def _pip(folder: Path, request: dict[str, Any]) -> list[str]:
    python = str(folder / "bin/python")
    if list(folder.glob("lib/python3*/site-packages/pip")):
        return [python, "-m", "pip"]
    return [python, f"{_pip_wheel(request)}/pip"]


def _arguments(request: dict[str, Any]) -> list[str]:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    source = ["--no-index", "--find-links", request["wheelhouse"]] if request["wheelhouse"] else []
    return [
        "install",
        *quiet,
        *source,
        "--only-binary=:all:",
        request["wheel"],
        *request.get("also", ()),
    ]


def _install_fault(done: subprocess.CompletedProcess[str], request: dict[str, Any]) -> str:
    words = _last_words(done)
    if "No space left" in done.stderr:
        remedy = "make room there (about 500 MB are needed)"
    elif "No matching distribution" in done.stderr and request["wheelhouse"]:
        remedy = "make the wheelhouse for this host: pytest-dllama wheelhouse --help"
    elif "No matching distribution" in done.stderr or "onnection" in done.stderr:
        remedy = (
            "numpy and numba need a 64-bit system; without internet there, make a wheelhouse: "
            "pytest-dllama wheelhouse --help"
        )
    else:
        remedy = "see pip's words above"
    return f"pip cannot install the engine: {words}; {remedy}"


def _versions(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    code = (
        "import importlib.metadata as m, json, platform\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "print(json.dumps({n: found[n] for n in ('numpy', 'numba', 'pytest-dllama') if n in found} "
        "| {'python': platform.python_version()}))"
    )
    done = _run([str(folder / "bin/python"), "-I", "-c", code], request)
    if done.returncode != 0:
        raise AgentError(f"the new environment does not run: {_last_words(done)}")
    versions: dict[str, Any] = json.loads(done.stdout)
    return versions


def _run(command: Sequence[str], request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Temporary files too stay in the working folder."""
    temporary = Path(request["folder"]) / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "rror:" in line]
    return " / ".join((errors or lines)[-3:]) or f"exit code {done.returncode}"


@contextmanager
def _locked(request: dict[str, Any]) -> Iterator[Path]:
    """One maker at a time; the environment's folder."""
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(request["environment"])
