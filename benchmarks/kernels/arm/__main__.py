"""Runs the AArch64 kernels under qemu-user: `python -m benchmarks.kernels.arm [FOLDER]`.

A Raspberry Pi 5's CPU and a Pi 4's at the same time, each emulated without the instructions that it
lacks: all variants of the products, the other kernels on floats of every size, and golden models on
one and two ranks. All results must be this machine's to the bit.

FOLDER (default benchmarks/.arm) gets an arm64 Python from Debian's packages and arm64 wheels of
numpy and numba; nothing is installed into the system. Needs apt-get, dpkg-deb, pip and
qemu-aarch64-static (Debian: qemu-user-static). Emulated code says nothing about speed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
CPUS = {"cortex-a76": "+neon,+fp-armv8,+dotprod", "cortex-a72": "+neon,+fp-armv8"}
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
REPOSITORY = Path(__file__).parents[3]


def main() -> None:
    """Set up what is missing, then check on both CPUs."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmarks/.arm").resolve()
    for program in ("qemu-aarch64-static", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed; on Debian: apt-get install qemu-user-static")
    root = folder / "root"
    if not list(root.glob("usr/bin/python3.*")):
        _unpack_debian(folder, root)
    python = sorted(root.glob("usr/bin/python3.[0-9]*"))[-1]
    if not (folder / "site" / "numba").is_dir():
        _download_wheels(folder / "site", python.name.removeprefix("python"))
    expected = folder / "results.npz"
    write = [sys.executable, "-m", "tests.engine.reference_runs", str(expected)]
    subprocess.run(write, cwd=REPOSITORY, check=True)
    check = [str(python), "-m", "benchmarks.kernels.arm.check", str(expected)]
    with ExitStack() as stack:
        running = {}
        for cpu, features in CPUS.items():
            qemu = ["qemu-aarch64-static", "-cpu", cpu, "-L", str(root)]
            environment = _environment(folder, root, cpu, features)
            running[cpu] = subprocess.Popen([*qemu, *check], env=environment, cwd=REPOSITORY)
            stack.callback(running[cpu].kill)
        failed = [cpu for cpu, process in running.items() if process.wait()]
    if failed:
        sys.exit(f"failed on {', '.join(failed)}")
    print(f"All results on {' and '.join(CPUS)} are those of this machine, to the bit.")


def _environment(folder: Path, root: Path, cpu: str, features: str) -> dict[str, str]:
    libraries = [root / "usr/lib/aarch64-linux-gnu", root / "lib/aarch64-linux-gnu"]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": f"{folder / 'site'}:{REPOSITORY}:{REPOSITORY / 'engine'}",
        "QEMU_SET_ENV": "LD_LIBRARY_PATH=" + ":".join(map(str, libraries)),
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(folder / "cache"),
    }


def _unpack_debian(folder: Path, root: Path) -> None:
    """Packages of another architecture, with apt's state in our own folder."""
    state, archives = folder / "apt/state", folder / "apt/cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (archives / "archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "apt/status").touch()
    config = folder / "apt/apt.conf"
    config.write_text(
        f'Dir::State "{state}";\nDir::State::status "{folder}/apt/status";\n'
        f'Dir::Cache "{archives}";\nDir::Etc "/etc/apt";\n'
        'APT::Architecture "arm64";\nAPT::Architectures {"arm64";};\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(config)}
    get = ["apt-get", "-q", "-y"]
    subprocess.run([*get, "update"], env=environment, check=True)
    install = ["install", "--download-only", "--no-install-recommends", *PACKAGES]
    subprocess.run([*get, *install], env=environment, check=True)
    for package in archives.glob("archives/*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)


def _download_wheels(target: Path, version: str) -> None:
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "install", "--only-binary=:all:", "--target", str(target)]
    options = [*platforms, "--python-version", version]
    subprocess.run([*pip, *options, "numba", "numpy"], check=True)


if __name__ == "__main__":
    main()
