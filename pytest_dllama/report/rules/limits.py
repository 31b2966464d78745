"""What limits the speed of a cell now: the first rule that its figures fulfil."""

from __future__ import annotations

import statistics

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.charts import finite
from pytest_dllama.report.figures.quantities import TOKENS_PER_S
from pytest_dllama.report.figures.token_time import TokenTime, token_time
from pytest_dllama.report.figures.view import RunView, counts
from pytest_dllama.report.rules.comparison import best_of_models
from pytest_dllama.report.rules.status import shared_cores
from pytest_dllama.report.sentences.answer import (
    LargestPart,
    LimitCompute,
    LimitCores,
    LimitExchange,
    LimitLatency,
    LimitMemory,
    LimitRate,
    LimitStraggler,
)
from pytest_dllama.report.sentences.base import Sentence

NEAR_ROOFLINE = 0.70  # share of the memory roofline from which memory is the limit
HALF = 0.50  # of a token, or of its exchange: what takes more is the limit
STRAGGLES = 1.25  # times the median rank's computing


def limits(view: RunView) -> list[Sentence]:
    """One sentence a model, of its best node count."""
    tops = best_of_models(view, TOKENS_PER_S)
    said: list[Sentence] = []
    for model in view.models:
        cells = [cell for n in view.node_counts if counts(cell := view.cell(model, n))]
        best = view.cell(model, tops[model].nodes) if model in tops else None
        cell = best or next((cell for cell in cells if cell is not None), None)
        found = limit_of(view, cell) if cell is not None else None
        said += [found] if found is not None else []
    return said


def limits_at_most_nodes(view: RunView) -> list[Sentence]:
    """One sentence a model, of its largest node count, where that is not its best."""
    tops = best_of_models(view, TOKENS_PER_S)
    said: list[Sentence] = []
    for model in view.models:
        counted = [n for n in view.node_counts if counts(view.cell(model, n))]
        most = view.cell(model, max(counted, default=0))
        if most is not None and model in tops and tops[model].nodes != most.nodes:
            found = limit_of(view, most)
            said += [found] if found is not None else []
    return said


def limit_of(view: RunView, cell: CellRecord) -> Sentence | None:
    """The limit of one cell, or None if its figures show none."""
    name = cell.id
    for shared in shared_cores(view):
        threads = cell.nodes * (view.run.request.nthreads or 1)
        if threads > shared.cores:
            return LimitCores(name, threads, shared.cores)
    time = token_time(cell)
    roof = cell.metrics.get("roofline_share")
    share = finite(roof.value) if roof else None
    limit_ms = finite(cell.roofline.limit_ms) if cell.roofline else None
    if share is not None and share >= NEAR_ROOFLINE and limit_ms and share > 0:
        return LimitMemory(name, share, limit_ms, limit_ms / share)
    if time is None:
        return None
    sync = sync_ms(time)
    if sync < HALF * time.whole_ms:
        compute = time.whole_ms - sync
        return LimitCompute(name, compute / time.whole_ms, compute, time.whole_ms)
    return _exchange_limit(view, cell, sync, time.whole_ms)


def sync_ms(time: TokenTime) -> float:
    """What a token spends exchanging and waiting."""
    return sum(ms for part, ms in time.parts if is_exchange(part))


def is_exchange(part: str) -> bool:
    """Whether a part is work with other ranks."""
    return part.startswith("exchange") or part in ("sync", "wire")


def _exchange_limit(view: RunView, cell: CellRecord, sync: float, whole: float) -> Sentence:
    name = cell.id
    if (straggler := _straggler(cell)) is not None:
        rank, host, times = straggler
        return LimitStraggler(name, rank, host, times, sync / whole)
    per_token = finite(cell.network.bytes_per_token) if cell.network else None
    if per_token and (mbps := min(_rates(view, cell), default=0.0)) > 0:
        transfer = per_token * 8 / 1e3 / mbps
        if transfer >= HALF * sync:
            return LimitRate(name, mbps, transfer, sync)
    trips = _trips_ms(view, cell)
    exchanges = _exchanges_a_token(cell)
    if trips and exchanges:
        trip = statistics.median(trips)
        if exchanges * trip >= HALF * sync:
            return LimitLatency(name, exchanges, trip, sync, cell.links is not None)
    return LimitExchange(name, sync / whole, sync, whole)


def _rates(view: RunView, cell: CellRecord) -> list[float]:
    """Mbit/s of the links: as measured on emulated ones, else between the hosts."""
    found = cell.links.links if cell.links else ()
    rates = [link.mbps or link.set_mbps for link in found] or [
        pair.bandwidth_mbps for pair in view.run.pairs
    ]
    return [rate for rate in rates if rate is not None and finite(rate)]


def _trips_ms(view: RunView, cell: CellRecord) -> list[float]:
    """One way on emulated links, whose delay is known; there and back between hosts."""
    if cell.links is not None:
        return [us / 1e3 for link in cell.links.links if (us := finite(link.median_us))]
    return [trip for pair in view.run.pairs if (trip := finite(pair.rtt_ms))]


def _straggler(cell: CellRecord) -> tuple[int, str, float] | None:
    """(rank, host, times the median) of a rank that computes clearly longer than the others."""
    known = [(finite(rank.compute_s), rank) for rank in cell.ranks]
    times = [(seconds, rank) for seconds, rank in known if seconds and seconds > 0]
    if len(times) < 3:
        return None
    middle = statistics.median(seconds for seconds, _ in times)
    seconds, slowest = max(times, key=lambda item: item[0])
    if slowest.role == "root" or seconds < STRAGGLES * middle:
        return None  # the root alone tokenizes and samples
    return slowest.rank, slowest.hostname, seconds / middle


def _exchanges_a_token(cell: CellRecord) -> float | None:
    """The root's operations over the steps of a request."""
    if cell.network is None or not cell.samples:
        return None
    steps = cell.samples[0].decode_tokens + 1  # and the prefill
    peers = max(cell.nodes - 1, 1)
    return cell.network.operations / peers / steps if steps > 0 else None


def largest_parts(view: RunView) -> list[Sentence]:
    """Of every model, what takes most of a token on each node count."""
    said: list[Sentence] = []
    for model in view.models:
        items = []
        for nodes in view.node_counts:
            time = token_time(view.cell(model, nodes))
            if time is not None:
                part, ms = time.largest
                items.append((nodes, part, ms / time.whole_ms))
        if items:
            said.append(LargestPart(model, tuple(items)))
    return said
