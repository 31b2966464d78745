"""What a cell's links tell of themselves, beside what the links were measured to carry."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Load:
    """How much of a rank's exchanges its bytes need, in the direction with more of them."""

    rank: int
    moved_bytes: float  # a request
    mbps: float  # the best of the rank's links
    exchange_s: float  # a request

    @property
    def bytes_s(self) -> float:
        """What the bytes take at that rate."""
        return 8 * self.moved_bytes / 1e6 / self.mbps

    @property
    def share(self) -> float:
        """Of the time in exchanges."""
        return self.bytes_s / self.exchange_s


def loads(run: RunRecord, cell: CellRecord) -> list[Load]:
    """Of every rank whose links were measured, or are emulated; over all of its interfaces."""
    if cell.network is None or not cell.samples:
        return []
    found = []
    for rank in cell.ranks:
        rates = _rates_mbps(run, cell, rank.rank)
        nics = [
            nic
            for nic in cell.network.nics
            if nic.rank == rank.rank and (nic.name != LOOPBACK or cell.links is not None)
        ]
        sent = sum(nic.own_sent_bytes for nic in nics)
        received = sum(nic.own_recv_bytes for nic in nics)
        if rates and nics and rank.sync_s:
            each = max(sent, received) / len(cell.samples)
            found.append(Load(rank.rank, each, max(rates), rank.sync_s))
    return found


def _rates_mbps(run: RunRecord, cell: CellRecord, rank: int) -> list[float]:
    """What a rank's links carry: as measured before the first cell, or as emulated."""
    if cell.links is not None:
        ends = [link for link in cell.links.links if rank in (link.source, link.target)]
        known = [link.mbps or link.set_mbps for link in ends]
        return [rate for rate in known if rate]
    names = {host.rank: host.name for host in run.hosts}
    return [
        pair.bandwidth_mbps
        for pair in run.pairs
        if names.get(rank) in (pair.source, pair.target) and pair.bandwidth_mbps
    ]


def is_wireless(run: RunRecord, rank: int, interface: str | None) -> bool | None:
    """Whether a rank's interface is Wi-Fi; None where its host was not looked at."""
    host = next((host for host in run.hosts if host.rank == rank), None)
    nic = next((n for n in host.nics if n.name == interface), None) if host else None
    return nic.wireless if nic else None
