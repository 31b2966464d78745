"""Hosts, their state and the links between them, as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_dllama.record.hosts import HostRecord, NicRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.rules.hosts import highest_c, kind_of
from pytest_dllama.report.tables.columns import Column, Entry, Flags, Table
from pytest_dllama.report.text.numbers import MISSING, megahertz, number, plain, size

Figure = Callable[[HostRecord], Entry]


def hosts_table(view: RunView) -> Table:
    """What the hosts are, in rank order."""
    columns: tuple[tuple[str, bool, Figure], ...] = (
        ("rank", True, lambda host: str(host.rank)),
        ("address", False, lambda host: host.address),
        ("board", False, kind_of),
        ("kernel", False, lambda host: host.kernel),
        ("system", False, lambda host: f"{host.machine}, {host.bits} bit"),
        ("cores", True, lambda host: str(host.cores)),
        ("available", True, lambda host: size(host.available_bytes)),
        ("needed", True, lambda host: size(host.needed_bytes)),
        ("nics", False, lambda host: ", ".join(map(_nic, host.nics)) or MISSING),
    )
    return _table(view.run.hosts, columns)


def state_table(view: RunView) -> Table:
    """How they fared: before the first cell, and while their processes ran."""
    columns: tuple[tuple[str, bool, Figure], ...] = (
        ("governor", False, lambda host: host.governor or MISSING),
        ("clock_before", True, lambda host: megahertz(host.mhz)),
        ("clock_lowest", True, lambda host: megahertz(host.watch.min_mhz if host.watch else None)),
        ("clock_most", True, lambda host: megahertz(host.max_mhz)),
        ("warmth_before", True, lambda host: plain(host.temperature_c, 1)),
        ("warmth_highest", True, lambda host: plain(highest_c(host), 1)),
        ("throttled_before", False, lambda host: _flags(host.throttled)),
        (
            "throttled_during",
            False,
            lambda host: _flags(host.watch.throttled if host.watch else None),
        ),
        ("load", True, lambda host: plain(host.load_1min, 2)),
        ("looks", True, lambda host: str(host.watch.n_samples) if host.watch else MISSING),
    )
    return _table(view.run.hosts, columns)


def _table(hosts: Sequence[HostRecord], columns: Sequence[tuple[str, bool, Figure]]) -> Table:
    head = (Column("host", numeric=False), *(Column(key, numeric=n) for key, n, _ in columns))
    rows = tuple((host.name, *(figure(host) for _, _, figure in columns)) for host in hosts)
    return Table(head, rows)


def _flags(flags: tuple[str, ...] | None) -> Entry:
    """None told is not the same as none set."""
    return MISSING if flags is None else Flags(flags)


def links_table(view: RunView) -> Table:
    """Round trip and bandwidth of every pair that may talk."""
    texts = ("source_host", "target_host", "fault")
    keys = ("source_host", "target_host", "rtt", "way_bandwidth", "fault")
    rows = tuple(
        (
            pair.source,
            pair.target,
            plain(pair.rtt_ms, 3),
            number(pair.bandwidth_mbps, 0),
            pair.error or MISSING,
        )
        for pair in view.run.pairs
    )
    return Table(tuple(Column(key, numeric=key not in texts) for key in keys), rows)


def _nic(nic: NicRecord) -> str:
    speed = f" {nic.speed_mbps} Mbit/s" if nic.speed_mbps is not None else ""
    duplex = f" {nic.duplex}" if nic.duplex == "half" else ""
    return f"{nic.name}{' (Wi-Fi)' if nic.wireless else ''}{speed}{duplex}"
