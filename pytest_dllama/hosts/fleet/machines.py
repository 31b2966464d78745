"""Physical machines of a session: hosts of one boot id share memory, power supply and clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_dllama.hosts.agent.facts import boot_id
from pytest_dllama.hosts.base import MemorySite, PowerSite
from pytest_dllama.hosts.fleet.preflight import Need
from pytest_dllama.hosts.fleet.provision import Ready
from pytest_dllama.hosts.power import local_power
from pytest_dllama.hosts.ssh.host import SshHost


@dataclass(frozen=True, slots=True)
class Machine:
    """Hosts that are one machine, and the rank of each."""

    hosts: tuple[SshHost, ...]
    ranks: tuple[int, ...]
    ready: Ready

    @property
    def names(self) -> tuple[str, ...]:
        """Of its hosts."""
        return tuple(host.name for host in self.hosts)

    def ranks_of(self, nodes: int) -> tuple[int, ...]:
        """Its ranks in a cell of so many nodes."""
        return tuple(rank for rank in self.ranks if rank < nodes)


def machines_of(by_rank: Iterable[tuple[int, SshHost]], seen: Mapping[str, Ready]) -> list[Machine]:
    """The machines of all hosts that were looked at, in the order of their first ranks."""
    found: dict[str, list[tuple[int, SshHost]]] = {}
    for rank, host in by_rank:
        if host.name in seen:
            found.setdefault(str(seen[host.name].facts["boot_id"]), []).append((rank, host))
    machines = []
    for placed in found.values():
        ranks, hosts = zip(*placed, strict=True)
        machines.append(Machine(hosts, ranks, seen[hosts[0].name]))
    return machines


def memory_sites(machines: Sequence[Machine], nodes: int, nthreads: int) -> list[MemorySite]:
    """Where memory is measured: each machine once, with all its ranks."""
    sites = []
    for machine in machines:
        if on_it := machine.ranks_of(nodes):
            facts, host = machine.ready.facts, machine.hosts[0]
            threads = max(host.nthreads or nthreads for host in machine.hosts)
            cores, cache_bytes = facts["cores"], facts["cache_bytes"]
            sites.append(
                MemorySite(machine.names, on_it, threads, cores, cache_bytes, host.measure_memory)
            )
    return sites


def power_sites(machines: Sequence[Machine], nodes: int, *, root_is_here: bool) -> list[PowerSite]:
    """Where power is read: each machine once, this one too if the root runs here."""
    here = [0] if root_is_here else []
    sites: list[PowerSite] = []
    for machine in machines:
        on_it = machine.ranks_of(nodes)
        if here and machine.ready.facts["boot_id"] == boot_id():
            here += on_it
        elif on_it:
            offset_s = machine.ready.clock.offset_s
            sites.append(PowerSite(machine.names, on_it, machine.hosts[0].read_power, offset_s))
    return [local_power(tuple(here)), *sites] if here else sites


def memory_needs(
    machines: Sequence[Machine], models: Sequence[Sequence[int]], sides: int
) -> dict[str, Need]:
    """The most that each host's rank needs over the models, and all ranks of its machine.

    Args:
        machines: of all hosts.
        models: of each, bytes by rank.
        sides: how many engines run at once.
    """
    needs: dict[str, Need] = {}
    for machine in machines if models else ():
        together = max(sum(need[rank] for rank in machine.ranks) for need in models)
        sharing = machine.names if len(machine.names) > 1 else ()
        for name, rank in zip(machine.names, machine.ranks, strict=True):
            own = max(need[rank] for need in models)
            needs[name] = Need(own * sides, together * sides, sharing, sides)
    return needs
