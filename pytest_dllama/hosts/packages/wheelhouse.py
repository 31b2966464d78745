"""Wheels for hosts without internet: what the engine needs, fetched here for their platform."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.packages.wheel import COMPILER, NEEDED, requirements

PLATFORMS = {  # what pip accepts for each kind of board, the newest first
    "aarch64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
    "x86_64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
}


def fetch_wheelhouse(platform: str, python: str, folder: Path) -> list[Path]:
    """Download wheels for a platform and a Python version; pip too, for hosts that have none.

    Raises:
        HostError: pip's last words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        download_command(platform, python, folder), capture_output=True, text=True
    )
    if done.returncode != 0:
        words = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise HostError(
            f"pip found no wheels for {platform} and Python {python}: {words}; is there internet "
            "here, and does --python name the boards' version (python3 --version there)?"
        )
    return sorted(folder.glob("*.whl"))


def download_command(platform: str, python: str, folder: Path) -> Sequence[str]:
    """The command line of pip."""
    tags = [word for tag in PLATFORMS.get(platform, (platform,)) for word in ("--platform", tag)]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", "--python-version", python, "--implementation", "cp"),
        *tags,
        *("--dest", str(folder)),
        *(*requirements(*NEEDED, COMPILER), "pip"),
    ]
