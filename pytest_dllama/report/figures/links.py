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
    mbps: float  # the best that was measured of the host before the first cell
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
    """Of every rank whose host's links were measured; over all of its interfaces."""
    if cell.network is None or not cell.samples:
        return []
    names = {host.rank: host.name for host in run.hosts}
    found = []
    for rank in cell.ranks:
        rates = [
            pair.bandwidth_mbps
            for pair in run.pairs
            if names.get(rank.rank) in (pair.source, pair.target) and pair.bandwidth_mbps
        ]
        nics = [nic for nic in cell.network.nics if nic.rank == rank.rank and nic.name != LOOPBACK]
        sent, received = (
            (
                sum(n)
                for n in zip(*((n.own_sent_bytes, n.own_recv_bytes) for n in nics), strict=True)
            )
            if nics
            else (0, 0)
        )
        if rates and nics and rank.sync_s:
            each = max(sent, received) / len(cell.samples)
            found.append(Load(rank.rank, each, max(rates), rank.sync_s))
    return found


def is_wireless(run: RunRecord, rank: int, interface: str | None) -> bool | None:
    """Whether a rank's interface is Wi-Fi; None where its host was not looked at."""
    host = next((host for host in run.hosts if host.rank == rank), None)
    nic = next((n for n in host.nics if n.name == interface), None) if host else None
    return nic.wireless if nic else None
