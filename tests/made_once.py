"""What takes long to make and what several files of tests look at: made once a run of the tests.

The processes of `make test` share a folder that goes with the run; who needs a thing first makes it
there, and the others wait.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.data import ROOT

FOLDER = "PYTEST_DLLAMA_TEST_HOME"  # set by tests/conftest.py
BOARD = "cortex-a53"  # a Raspberry Pi 3


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` filled; a failure is told to each that asks, for each tries again."""
    home = Path(os.environ[FOLDER], "made-once")
    folder, whole = home / name, home / f"{name}.whole"
    folder.mkdir(parents=True, exist_ok=True)
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however that ends
        if not whole.exists():
            make(folder)
            whole.touch()
    return folder


def project_wheel() -> Path:
    """The wheel of this checkout, as pip builds it."""
    (wheel,) = made_once("wheel", _build_wheel).glob("*.whl")
    return wheel


def _build_wheel(folder: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    done = subprocess.run(
        [*pip, "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def board_kernels() -> tuple[Path, str]:
    """The image that `pytest-dllama kernels build` made for a board, and what the command said."""
    folder = made_once(BOARD, _build_board_kernels)
    return folder / f"kernels-{BOARD}.image", (folder / "said.txt").read_text("utf-8")


def _build_board_kernels(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest_dllama.cli", "kernels", "build", "--target", BOARD]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (folder / "said.txt").write_text(done.stdout, "utf-8")
