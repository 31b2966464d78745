"""The meters of a session's machines: readings come as lines from each machine's own agent.

A machine of ours runs the agent as a process, another one over SSH; both end with their standard
input. Knows nothing of cells: what the readings mean for a request is `lab.power`'s.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

from pytest_dllama.hosts.base import HostError, PowerFeed, PowerSite
from pytest_dllama.metrics.energy import EnergyCurve
from pytest_dllama.record.energy import PowerRecord

FIRST_LINE_S = 15.0  # a board starts a Python interpreter within a few seconds
END_S = 5.0
_AGENT = "import sys; from pytest_dllama.hosts.agent.main import main; main(sys.argv[1:])"


def local_power(ranks: tuple[int, ...]) -> PowerSite:
    """This machine's meter, read by a process of its own: it disturbs no engine's reader."""
    return PowerSite(("this machine",), ranks, _open_here)


def _open_here() -> PowerFeed:
    command = [sys.executable, "-P", "-c", _AGENT, "power"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def close() -> None:
        with contextlib.suppress(OSError):
            stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return PowerFeed(_until_end(stdout), close)


def _until_end(stdout: IO[bytes]) -> Iterator[bytes]:
    with stdout:
        yield from iter(stdout.readline, b"")


class PowerLog:
    """Readings of one machine's meter, taken by a thread from the moment of its making.

    Args:
        site: the machine.
    """

    def __init__(self, site: PowerSite) -> None:
        self.site = site
        self._about: dict[str, Any] = {"error": f"its agent told nothing for {FIRST_LINE_S:g} s"}
        self._times_s: list[float] = []
        self._values: list[float] = []
        self._is_told = threading.Event()
        self._feed: PowerFeed | None = None
        try:
            self._feed = site.open()
        except HostError as error:
            self._about = {"error": str(error)}
            self._is_told.set()
            return
        name = f"power-{'-'.join(site.hosts)}"
        self._reader = threading.Thread(target=self._read, args=(self._feed,), name=name)
        self._reader.daemon = True
        self._reader.start()

    def _read(self, feed: PowerFeed) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed while it was read
            self._about = json.loads(next(feed.lines, b'{"error": "its agent ended at once"}'))
            self._is_told.set()
            for line in feed.lines:
                time_s, value = map(float, line.split())
                time_s -= self.site.clock_offset_s
                if not self._times_s or time_s > self._times_s[-1]:  # its clock may be set back
                    self._values.append(value)  # first: a time without a value is never seen
                    self._times_s.append(time_s)
        self._is_told.set()

    def record(self) -> PowerRecord:
        """What reads this machine, or why nothing does; waits for the agent's first word."""
        self._is_told.wait(FIRST_LINE_S)
        if (why := self._about.get("error")) is not None:
            return PowerRecord(hosts=self.site.hosts, why_not=str(why))
        known = {key: self._about[key] for key in ("source", "detail", "period_s")}
        return PowerRecord(hosts=self.site.hosts, **known)

    def curve(self) -> EnergyCurve:
        """All readings so far."""
        n = len(self._times_s)
        times_s, values = self._times_s[:n], self._values[:n]
        of = EnergyCurve.of_joules if self._about.get("unit") == "j" else EnergyCurve.of_watts
        return of(times_s, values)

    def close(self) -> None:
        """End the agent; safe to call twice."""
        if self._feed is not None:
            self._feed.close()
            self._reader.join(END_S)
            self._feed = None
