"""Asks a dllama program what it is: here, or through the host that has it; each program once."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from pytest_dllama.backends.dllama.identify import Ask, identify
from pytest_dllama.backends.dllama.versions import Engine
from pytest_dllama.backends.process_guard import guarded
from pytest_dllama.hosts.base import Host

ANSWER_S = 10.0  # a dry call ends within milliseconds; a wrapper script may hang
_MAX_PROGRAM_BYTES = 256 * 2**20
_known: dict[tuple[object, ...], Engine] = {}


def engine_here(binary: str, more: Mapping[str, str] | None = None) -> Engine:
    """What a program of this machine is; asked anew only when its file has changed.

    Raises:
        OSError: the program cannot be started.
    """
    path = Path(binary).resolve()
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
        raise OSError(errno.EACCES, "no regular file, so no program", binary)
    key = (str(path), about.st_size, about.st_mtime_ns, *sorted((more or {}).items()))
    if key not in _known:
        program = path.read_bytes() if about.st_size <= _MAX_PROGRAM_BYTES else b""
        _known[key] = identify(_asking_here(str(path)), more, program)
    return _known[key]


def _asking_here(binary: str) -> Ask:
    def ask(arguments: Sequence[str]) -> str:
        with subprocess.Popen(
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                return process.communicate(timeout=ANSWER_S)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return ""

    return ask


def engine_of(host: Host, binary: str, logs: Path, more: Mapping[str, str]) -> Engine:
    """What the program of a host is.

    Raises:
        HostError: it cannot be started there.
    """
    number = count(1)  # a host takes no name twice

    def ask(arguments: Sequence[str]) -> str:
        command = guarded([binary, *arguments], host.parent)
        process = host.start(command, f"engine-info.{next(number)}", logs, {})
        lines: list[str] = []
        end = time.monotonic() + ANSWER_S
        try:
            while (line := process.read_line(max(end - time.monotonic(), 0.0))) is not None:
                lines.append(line)
        except TimeoutError:
            pass  # what it printed is its answer, though it did not end
        finally:
            process.stop()
        return "".join(lines) + process.error_tail()

    return identify(ask, more)
