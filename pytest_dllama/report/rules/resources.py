"""What may be said of memory, traffic and synchronization: rules from figures to sentences."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.compare import difference, series
from pytest_dllama.report.figures.links import LOOPBACK, is_wireless, loads
from pytest_dllama.report.figures.quantities import (
    MEMORY,
    ROOT_MEMORY,
    SYNC_SHARE,
    TOTAL_BYTES,
    WORKER_MEMORY,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.links import (
    InterfaceErrors,
    LinkRetransmits,
    LinkSaturated,
)
from pytest_dllama.report.sentences.resources import (
    MemoryChange,
    MemoryRatio,
    RootAgainstWorker,
    SyncShares,
    TrafficGrowth,
    VarianceSeen,
    WireChecked,
    WireMismatch,
)

# A switched Ethernet loses no segment, and each that must be sent again holds all ranks up for
# Linux's least timeout of 200 ms: at 0.1 % that is about every second token of a 13B model on 8
# nodes (560 messages). Three, as a single one may be no more than a probe of a quiet connection.
RETRANSMITS, LEAST_RETRANSMITS = 0.001, 3
# From where more than two thirds of an exchange are its bytes: halving the latency would no longer
# give what a faster link, or a collective of fewer bytes, does.
SATURATED = 0.7
VARIANCE_FACTOR = 2  # P95 above this many P50 is high variance


def memory(view: RunView) -> list[Sentence]:
    """Memory of model against model per node count, and of each model over the node counts."""
    said: list[Sentence] = []
    for quantity in MEMORY:
        for other in view.models[1:]:
            said += _memory_ratio(view, quantity, view.models[0], other)
    for model in view.models:
        for quantity in MEMORY:
            said += _memory_change(view, quantity, model)
    return said


def _memory_ratio(view: RunView, quantity: Quantity, first: str, other: str) -> list[Sentence]:
    pairs = [
        (nodes, quantity.of(view.cell(first, nodes)), quantity.of(view.cell(other, nodes)))
        for nodes in view.node_counts
    ]
    items = tuple((nodes, a.value / b.value) for nodes, a, b in pairs if a and b and b.value)
    return [MemoryRatio(quantity, first, other, items)] if items else []


def _memory_change(view: RunView, quantity: Quantity, model: str) -> list[Sentence]:
    found = [(n, quantity.of(view.cell(model, n))) for n in view.node_counts]
    values = [(nodes, value) for nodes, value in found if value is not None]
    if len(values) < 2:
        return []
    (start, low), (end, high) = values[0], values[-1]
    diff = difference(high, low)
    if diff.percent is None:
        return []
    return [MemoryChange(quantity, model, start, end, diff.percent, diff.tied)]


def root_against_worker(cell: CellRecord) -> RootAgainstWorker | None:
    """Root and worker memory of a cell, if both are known."""
    root, worker = ROOT_MEMORY.of(cell), WORKER_MEMORY.of(cell)
    if root is None or worker is None or not worker.value:
        return None
    percent = (root.value - worker.value) / worker.value * 100
    return RootAgainstWorker(name_of(cell), cell.nodes, root.value, worker.value, percent)


def traffic(view: RunView) -> list[Sentence]:
    """How total traffic and the share of sync grow with the nodes."""
    said: list[Sentence] = []
    for model in view.models:
        values = series(view, model, TOTAL_BYTES)
        if len(values) > 1 and values[0][0] and values[0][1].value:
            (start, low), (end, high) = values[0], values[-1]
            said.append(TrafficGrowth(model, start, end, high.value / low.value, end / start))
    return said


def sync_shares(view: RunView) -> list[Sentence]:
    """The share of sync by node count, for each model that has one."""
    found = {model: series(view, model, SYNC_SHARE) for model in view.models}
    return [
        SyncShares(model, tuple((nodes, value.value) for nodes, value in values))
        for model, values in found.items()
        if values
    ]


def wire(view: RunView) -> list[Sentence]:
    """Whether the bytes on the sockets are those that the shard plan predicts."""
    networks = [(cell, cell.network) for cell in view.ordered() if cell.network is not None]
    checked = [
        (cell, network.payload_bytes, network.expected_payload_bytes)
        for cell, network in networks
        if network.payload_bytes is not None and network.expected_payload_bytes is not None
    ]
    wrong = [
        WireMismatch(name_of(cell), cell.nodes, counted, expected)
        for cell, counted, expected in checked
        if counted != expected
    ]
    if not checked:
        return []
    return [WireChecked(len(checked) - len(wrong), len(checked)), *wrong]


def is_scattered(cell: CellRecord) -> bool:
    """Latency of high variance on the root's links (P95 > 2 * P50), over all or on one link."""
    network = cell.network
    if network is None:
        return False
    over_all = (
        network.p50_ms is not None
        and network.p95_ms is not None
        and network.p95_ms > VARIANCE_FACTOR * network.p50_ms
    )
    return over_all or bool(network.high_variance_peers)


def variance(view: RunView) -> list[VarianceSeen]:
    """How many cells scatter, and the one whose P95 is highest."""
    judged = [
        (cell, cell.network.p50_ms, cell.network.p95_ms)
        for cell in view.ordered()
        if cell.network and cell.network.p50_ms is not None and cell.network.p95_ms is not None
    ]
    seen = [item for item in judged if item[2] > VARIANCE_FACTOR * item[1]]
    if not seen:
        return []
    cell, p50_ms, p95_ms = max(seen, key=lambda item: item[2])
    return [VarianceSeen(len(seen), len(judged), name_of(cell), cell.nodes, p50_ms, p95_ms)]


def about_links_of_cells(view: RunView) -> list[Sentence]:
    """What the kernels of the ranks, and the measured rates, say of the links of each cell."""
    said: list[Sentence] = []
    for cell in view.ordered():
        if cell.network is not None:
            said += [*_retransmits(view, cell), *_saturated(view, cell), *_errors(cell)]
    return said


def _retransmits(view: RunView, cell: CellRecord) -> Iterator[Sentence]:
    for link in cell.network.tcp if cell.network else ():
        share = link.retransmits / link.segments if link.segments else 0.0
        if link.interface == LOOPBACK:  # loses nothing: these are probes of a busy machine
            continue
        if share >= RETRANSMITS and link.retransmits >= LEAST_RETRANSMITS:
            wireless = is_wireless(view.run, link.rank, link.interface)
            counts = share, link.retransmits, link.segments
            yield LinkRetransmits(cell.id, link.rank, link.peer, link.interface, wireless, *counts)


def _saturated(view: RunView, cell: CellRecord) -> Iterator[Sentence]:
    """Only the rank whose links are fullest: the others wait for it."""
    fullest = max(loads(view.run, cell), key=lambda load: load.share, default=None)
    if fullest is not None and fullest.share >= SATURATED:
        load = fullest
        yield LinkSaturated(
            *(cell.id, load.rank, load.moved_bytes, load.mbps),
            *(load.bytes_s, load.exchange_s, load.share),
        )


def _errors(cell: CellRecord) -> Iterator[Sentence]:
    for nic in cell.network.nics if cell.network else ():
        if packets := nic.sent_errors + nic.recv_errors:
            yield InterfaceErrors(cell.id, nic.rank, nic.name, packets)
