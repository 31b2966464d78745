"""A program that takes as much memory as it is told to."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.hosts.base import HostProcess
from tests.engine.processes import GENEROUS_S

MIB = 2**20


# Takes as many MiB as asked for each line it reads from a file that grows; says so; keeps a little.
PROGRAM = """
import sys, time
done = 0
while True:
    wanted = [int(line) for line in open(sys.argv[1])]
    for mib in wanted[done:]:
        block = bytearray(b"x") * (mib * 2**20)
        del block
        print("took", mib, flush=True)
    done = len(wanted)
    time.sleep(0.02)
"""


def take(process: HostProcess, orders: Path, mib: int) -> None:
    with orders.open("a") as file:
        file.write(f"{mib}\n")
    assert process.read_line(GENEROUS_S) == f"took {mib}\n"
