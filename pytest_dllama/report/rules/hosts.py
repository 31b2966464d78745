"""The machines of a run behind SSH: what they are, how they fared, and the links between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from pytest_dllama.record.hosts import HostRecord, PairRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.hosts import (
    ClockDropped,
    HostKinds,
    HostProblem,
    HostThrottled,
    LinksMeasured,
    SampleCost,
    SharedMachine,
    WarmestHost,
    WayBroken,
)

DROPPED_BELOW = 0.95  # of a host's highest clock


def kind_of(host: HostRecord) -> str:
    """The board's name, or the processor's."""
    return host.board or host.cpu_model or host.machine


def highest_c(host: HostRecord) -> float | None:
    """The warmest it was seen, in degrees Celsius."""
    known = [host.temperature_c, host.watch.max_temperature_c if host.watch else None]
    return max((value for value in known if value is not None), default=None)


def about_hosts(view: RunView) -> list[Sentence]:
    """What they are, what is wrong with them, and what was seen of them during the run."""
    hosts = view.run.hosts
    return [
        *_kinds(hosts),
        *shared_machines(hosts),
        *throttled(view),
        *problems(hosts),
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


def problems(hosts: Sequence[HostRecord]) -> Iterator[Sentence]:
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


def about_links(view: RunView) -> list[Sentence]:
    """How far the links between the hosts differ, and those that are none."""
    broken = [WayBroken(p.source, p.target, p.error) for p in view.run.pairs if p.error]
    times = extremes(view.run.pairs, lambda pair: pair.rtt_ms)
    rates = extremes(view.run.pairs, lambda pair: pair.bandwidth_mbps)
    if times is None or rates is None:
        return [*broken]
    (fastest, _), (slowest, far) = times
    (least, narrow), (most, _) = rates
    links = LinksMeasured(fastest, slowest, pair_name(far), least, most, pair_name(narrow))
    return [*broken, links]


def extremes(
    pairs: Sequence[PairRecord], figure: Callable[[PairRecord], float | None]
) -> tuple[tuple[float, PairRecord], tuple[float, PairRecord]] | None:
    """The least and the greatest known figure, each with its link."""
    known = [(value, pair) for pair in pairs if (value := figure(pair)) is not None]
    if not known:
        return None
    return min(known, key=lambda item: item[0]), max(known, key=lambda item: item[0])


def pair_name(pair: PairRecord) -> str:
    """Both ends of a link."""
    return f"{pair.source} – {pair.target}"
