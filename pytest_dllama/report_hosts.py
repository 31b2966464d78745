"""The machines of a run behind SSH: what they are, how they fared, and the ways between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from pytest_dllama.record.hosts import HostRecord, NicRecord, PairRecord
from pytest_dllama.report_cells import Cell, Column, Flags, Table
from pytest_dllama.report_format import MISSING, number, plain, short, size
from pytest_dllama.report_sentences import (
    ClockDropped,
    HostKinds,
    HostProblem,
    HostThrottled,
    SampleCost,
    Sentence,
    SharedMachine,
    WarmestHost,
    WayBroken,
    WaysMeasured,
)
from pytest_dllama.report_view import RunView

DROPPED_BELOW = 0.95  # of a host's highest clock

Figure = Callable[[HostRecord], Cell]


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
        ("clock_before", True, lambda host: _mhz(host.mhz)),
        ("clock_lowest", True, lambda host: _mhz(host.watch.min_mhz if host.watch else None)),
        ("clock_most", True, lambda host: _mhz(host.max_mhz)),
        ("warmth_before", True, lambda host: plain(host.temperature_c, 1)),
        ("warmth_highest", True, lambda host: plain(_highest_c(host), 1)),
        ("throttled_before", False, lambda host: Flags(host.throttled)),
        (
            "throttled_during",
            False,
            lambda host: Flags(host.watch.throttled) if host.watch else MISSING,
        ),
        ("load", True, lambda host: plain(host.load_1min, 2)),
        ("looks", True, lambda host: str(host.watch.n_samples) if host.watch else MISSING),
    )
    return _table(view.run.hosts, columns)


def _table(hosts: Sequence[HostRecord], columns: Sequence[tuple[str, bool, Figure]]) -> Table:
    head = (Column("host", numeric=False), *(Column(key, numeric=n) for key, n, _ in columns))
    rows = tuple((host.name, *(figure(host) for _, _, figure in columns)) for host in hosts)
    return Table(head, rows)


def ways_table(view: RunView) -> Table:
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


def kind_of(host: HostRecord) -> str:
    """The board's name, or the processor's."""
    return host.board or host.cpu_model or host.machine


def _nic(nic: NicRecord) -> str:
    speed = f" {nic.speed_mbps} Mbit/s" if nic.speed_mbps is not None else ""
    duplex = f" {nic.duplex}" if nic.duplex == "half" else ""
    return f"{nic.name}{' (Wi-Fi)' if nic.wireless else ''}{speed}{duplex}"


def _mhz(value: float | None) -> str:
    return number(value, 0).replace(",", "")


def _highest_c(host: HostRecord) -> float | None:
    known = [host.temperature_c, host.watch.max_temperature_c if host.watch else None]
    return max((value for value in known if value is not None), default=None)


def about_hosts(view: RunView) -> list[Sentence]:
    """What they are, what is wrong with them, and what was seen of them during the run."""
    hosts = view.run.hosts
    return [
        *_kinds(hosts),
        *shared_machines(hosts),
        *throttled(view),
        *_problems(hosts),
        *_warmest(hosts),
        *_dropped(hosts),
        *_cost(hosts),
    ]


def _kinds(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
    kinds = Counter((kind_of(host), host.cores) for host in hosts)
    if kinds:
        items = tuple((name, cores, n) for (name, cores), n in kinds.most_common())
        yield HostKinds(len(hosts), items)


def shared_machines(hosts: Sequence[HostRecord]) -> list[SharedMachine]:
    """Hosts that are one machine: their node counts say nothing of separate ones."""
    groups = dict.fromkeys(host.shares_with for host in hosts if host.shares_with)
    return [SharedMachine(names) for names in groups]


def throttled(view: RunView) -> list[HostThrottled]:
    """Hosts that were slowed down while they were measured."""
    return [
        HostThrottled(host.name, host.watch.throttled)
        for host in view.run.hosts
        if host.watch and host.watch.throttled
    ]


def _problems(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
    """One sentence for all hosts of which the same is to be said."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[str]] = {}
    for host in hosts:
        for one in host.findings:
            key = (one.level, one.kind, tuple(sorted(one.values.items())))
            found.setdefault(key, []).append(host.name)
    for (level, kind, values), names in found.items():
        yield HostProblem(tuple(names), kind, values, level == "refusal")


def _warmest(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
    known = [
        (host.watch.max_temperature_c, host)
        for host in hosts
        if host.watch and host.watch.max_temperature_c is not None
    ]
    if known:
        highest_c, host = max(known, key=lambda pair: pair[0])
        yield WarmestHost(host.name, host.temperature_c, highest_c)


def _dropped(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
    for host in hosts:
        lowest = host.watch.min_mhz if host.watch else None
        if lowest and host.max_mhz and lowest < DROPPED_BELOW * host.max_mhz:
            yield ClockDropped(host.name, lowest, host.max_mhz)


def _cost(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
    watches = [host.watch for host in hosts if host.watch]
    if watches:
        dearest = max(watch.sample_ms for watch in watches)
        yield SampleCost(sum(watch.n_samples for watch in watches), dearest)


def about_ways(view: RunView) -> list[Sentence]:
    """How far the ways between the hosts differ, and those that are none."""
    broken = [WayBroken(p.source, p.target, p.error) for p in view.run.pairs if p.error]
    times = _extremes(view.run.pairs, lambda pair: pair.rtt_ms)
    rates = _extremes(view.run.pairs, lambda pair: pair.bandwidth_mbps)
    if times is None or rates is None:
        return [*broken]
    (fastest, _), (slowest, far) = times
    (least, narrow), (most, _) = rates
    ways = WaysMeasured(fastest, slowest, _named(far), least, most, _named(narrow))
    return [*broken, ways]


def _extremes(
    pairs: Sequence[PairRecord], figure: Callable[[PairRecord], float | None]
) -> tuple[tuple[float, PairRecord], tuple[float, PairRecord]] | None:
    known = [(value, pair) for pair in pairs if (value := figure(pair)) is not None]
    if not known:
        return None
    return min(known, key=lambda item: item[0]), max(known, key=lambda item: item[0])


def _named(pair: PairRecord) -> str:
    return f"{pair.source} – {pair.target}"


def summary_lines(hosts: Sequence[HostRecord], pairs: Sequence[PairRecord]) -> list[str]:
    """The same for a terminal: a line a host, a line for the ways."""
    return [*map(_host_line, hosts), *_ways_line(pairs)]


def _host_line(host: HostRecord) -> str:
    parts = [kind_of(host), f"{host.cores} cores", f"Linux {host.kernel}"]
    if host.governor:
        parts.append(f"governor {host.governor}")
    highest = _highest_c(host)
    if highest is not None:
        before = f"{short(host.temperature_c)} to " if host.temperature_c is not None else ""
        parts.append(f"{before}{short(highest)} °C")
    if host.watch and host.watch.min_mhz is not None:
        parts.append(f"{_mhz(host.watch.min_mhz)} MHz or more")
    if host.watch and host.watch.throttled:
        parts.append(f"SLOWED DOWN during the run: {', '.join(host.watch.throttled)}")
    elif host.throttled:
        parts.append(f"before the run: {', '.join(host.throttled)}")
    return f"host {host.name}: {', '.join(parts)}"


def _ways_line(pairs: Sequence[PairRecord]) -> list[str]:
    times = _extremes(pairs, lambda pair: pair.rtt_ms)
    rates = _extremes(pairs, lambda pair: pair.bandwidth_mbps)
    broken = [f"way {p.source} to {p.target}: {p.error}" for p in pairs if p.error]
    if times is None or rates is None:
        return broken
    (fastest, _), (slowest, far) = times
    (least, narrow), (most, _) = rates
    return [
        *broken,
        f"ways: round trip {fastest:.3f} to {slowest:.3f} ms ({_named(far)}), bandwidth "
        f"{least:.0f} ({_named(narrow)}) to {most:.0f} Mbit/s",
    ]
