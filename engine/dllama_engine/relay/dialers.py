"""Which node dialed a connection on this machine: from its port to its socket to its process.

By `/proc`: the table of TCP sockets has the number of the socket, a process's folder of descriptors
has its sockets, and a process belongs to the session (setsid) that its host started it in.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LOOKS = 8  # at the table of sockets
_NO_SOCKET = "0"  # the number of a connection that its process has closed
_ELSEWHERE = 0  # the session of processes that began outside this container: no node's


def dialer_of(
    address: tuple[str, int],
    door: tuple[str, int],
    sessions: Mapping[int, int],
    proc: Path = _PROC,
) -> int | None:
    """The node whose process dialed from this address; None: of no session that is known.

    Args:
        address: the dialer's end of the connection, as the one who accepted it sees it.
        door: the end of the one who accepted it.
        sessions: node -> session id of its processes.
        proc: where the kernel tells of processes.
    """
    number = _socket_number(address, door, proc)
    if number is None:
        return None
    wanted = f"socket:[{number}]"
    nodes = {session: node for node, session in sessions.items() if session != _ELSEWHERE}
    for process in _processes(proc):
        node = nodes.get(_session(process))
        if node is not None and wanted in _descriptors(process):
            return node
    return None


def _socket_number(address: tuple[str, int], door: tuple[str, int], proc: Path) -> str | None:
    """The inode of the IPv4 socket at `address` that is connected to `door`.

    Others may have the same local port: closed ones that the kernel still keeps (TIME_WAIT), and
    open ones to other places.

    The kernel hands out its table in pieces: where other sockets come and go meanwhile, a row may
    be in none of them.
    """
    ends = [_as_told(address), _as_told(door)]
    for _ in range(_LOOKS):
        with suppress(OSError), (proc / "net/tcp").open(encoding="ascii") as table:
            for line in table:
                words = line.split()
                if words[1:3] == ends and words[9] != _NO_SOCKET:
                    return words[9]
    return None


def _as_told(address: tuple[str, int]) -> str:
    """An address as the kernel's table has it."""
    host = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    return f"{host:08X}:{address[1]:04X}"


def _processes(proc: Path) -> Iterator[Path]:
    """The newest first: who dials has often just been started."""
    with suppress(OSError):
        numbers = [int(name) for name in os.listdir(proc) if name.isdigit()]
        yield from (proc / str(number) for number in sorted(numbers, reverse=True))


def _session(process: Path) -> int:
    """Its session id, the fourth field behind the name in brackets; -1: it has ended."""
    with suppress(OSError, IndexError, ValueError):
        text = (process / "stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[3])
    return -1


def _descriptors(process: Path) -> Iterator[str]:
    folder = process / "fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                yield os.readlink(folder / name)
