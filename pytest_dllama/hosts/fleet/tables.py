"""Hosts on a terminal: the live table of provisioning, the tables of facts and of links."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pytest_dllama.hosts.fleet.provision import STEPS
from pytest_dllama.hosts.terminal import gives_way
from pytest_dllama.record.hosts import HostRecord, NicRecord, PairRecord

UNKNOWN = "-"


class LiveSteps:
    """Host x step, drawn anew as steps begin and end; lines without a terminal."""

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self._console = console
        self._states: dict[str, dict[str, str]] = {name: {} for name in names}
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=5)

    def __enter__(self) -> LiveSteps:
        if self._console.is_terminal:
            self._stack.enter_context(self._live)
            self._stack.enter_context(gives_way(self._live))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def report(self, host: str, step: str, state: str) -> None:
        """Told by each host's thread."""
        with self._lock:
            self._states[host][step] = state
            if not self._console.is_terminal and state != "...":
                self._console.print(f"{host}: {step}: {state}")

    def _table(self) -> Table:
        table = Table("host", *STEPS)
        for host, states in self._states.items():
            table.add_row(host, *(states.get(step, "") for step in STEPS))
        return table


def facts_table(records: Sequence[HostRecord]) -> Table:
    """A column for each host, in rank order."""
    table = Table("host", *(record.name for record in records))
    columns = [_facts(record) for record in records]
    for name in columns[0] if columns else ():
        table.add_row(name, *(column[name] for column in columns))
    return table


def _facts(record: HostRecord) -> dict[str, str]:
    temperature = record.temperature_c
    return {
        "rank": str(record.rank),
        "address": record.address,
        "board": record.board or UNKNOWN,
        "kernel": record.kernel,
        "system": f"{record.machine}, {record.bits}-bit",
        "cores": str(record.cores),
        "memory available": _gb(record.available_bytes),
        "its shard needs": _gb(record.needed_bytes),
        "swap in use": _gb(record.swap_used_bytes),
        "disk free": _gb(record.disk_free_bytes),
        "governor": record.governor or UNKNOWN,
        "MHz now/most": _pair(record.mhz, record.max_mhz),
        "temperature": UNKNOWN if temperature is None else f"{temperature:.0f} °C",
        "throttled": _flags(record.throttled),
        "clock": _clock(record.clock_offset_ms, record.clock_error_ms),
        "load (1 min)": f"{record.load_1min:.2f}",
        "network": "\n".join(map(_nic, record.nics)) or UNKNOWN,
    }


def _flags(flags: Sequence[str] | None) -> str:
    """What the firmware says.

    >>> _flags(None), _flags(()), _flags(("throttled now",))
    ('-', 'no', 'throttled now')
    """
    return UNKNOWN if flags is None else ", ".join(flags) or "no"


def _clock(offset_ms: float | None, error_ms: float | None) -> str:
    """Theirs minus ours.

    >>> _clock(-3.2, 0.41), _clock(None, None)
    ('-3.2 ± 0.4 ms', '-')
    """
    if offset_ms is None:
        return UNKNOWN
    bound = "" if error_ms is None else f" ± {error_ms:.1f}"
    return f"{offset_ms:+.1f}{bound} ms"


def _nic(nic: NicRecord) -> str:
    speed = "" if nic.speed_mbps is None else f" {nic.speed_mbps} Mbit/s"
    duplex = "" if nic.duplex in (None, "unknown") else f" {nic.duplex}"
    return f"{nic.name}{' (wireless)' if nic.wireless else ''}{speed}{duplex}"


def _gb(n_bytes: int | None) -> str:
    """Gigabytes.

    >>> _gb(1_500_000_000), _gb(None)
    ('1.50 GB', '-')
    """
    return UNKNOWN if n_bytes is None else f"{n_bytes / 1e9:.2f} GB"


def _pair(now: float | None, most: float | None) -> str:
    """Now of most.

    >>> _pair(600.0, 2400.0), _pair(None, None)
    ('600/2400', '-')
    """
    if now is None and most is None:
        return UNKNOWN
    return "/".join(UNKNOWN if value is None else f"{value:.0f}" for value in (now, most))


def pairs_table(pairs: Sequence[PairRecord]) -> Table:
    """One row for every two hosts that talk."""
    table = Table("from", "to", "round trip", "bandwidth", "fault")
    for pair in pairs:
        rtt = UNKNOWN if pair.rtt_ms is None else f"{pair.rtt_ms:.3f} ms"
        mbps = UNKNOWN if pair.bandwidth_mbps is None else f"{pair.bandwidth_mbps:.0f} Mbit/s"
        table.add_row(pair.source, pair.target, rtt, mbps, pair.error or "")
    return table
