"""Why a file cannot be run as a program of this machine, told from its mode and first bytes."""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path

_MACHINES = {  # of an ELF header (System V ABI, e_machine) -> as `uname -m` says
    3: "i686",
    8: "mips",
    21: "ppc64le",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_OTHERS = {b"MZ": "a Windows program", b"\xcf\xfa\xed\xfe": "a macOS program"}


def why_no_program(binary: str) -> str:
    """What is wrong with it and what to do, where no shell finds it or it fails to start."""
    path = Path(binary)
    if not os.path.lexists(path):
        return "no such program; build it (make dllama) and give its path"
    if not path.exists():
        return f"a link to {os.readlink(path)}, which is not there"
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        inside = path / "dllama"
        return f"a folder; give the program in it{f' ({inside})' if inside.is_file() else ''}"
    if not stat.S_ISREG(about.st_mode):
        return "no regular file, so no program"
    return _of_bytes(path, about.st_size)


def _of_bytes(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not head:
        return "an empty file; build it anew (make dllama)"
    if head.startswith(b"\x7fELF"):
        machine = _machine(head)
        if machine and machine != platform.machine():
            return f"built for {machine}, and this machine is {platform.machine()}: build it here"
    elif head.startswith(b"#!"):
        words = head.split(b"\n")[0][2:].decode(errors="replace").split()
        if not words or not os.path.exists(words[0]):
            return f"a script for {' '.join(words) or 'nothing'}, which is not there"
    else:
        other = next((what for magic, what in _OTHERS.items() if head.startswith(magic)), None)
        return f"{other or 'no program: neither an ELF file nor a script'}; build it here"
    if not os.access(path, os.X_OK):
        return f"not executable; chmod +x {path}"
    return f"cannot be started ({size} bytes): it may be cut off; build it anew (make dllama)"


def _machine(head: bytes) -> str:
    number = int.from_bytes(head[18:20], "little" if head[5:6] == b"\x01" else "big")
    return _MACHINES.get(number, f"another processor ({number})")
