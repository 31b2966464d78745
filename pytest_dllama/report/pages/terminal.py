"""The table of cells at the end of a run, as plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_dllama.record.cell import CellRecord, Percentiles
from pytest_dllama.record.hosts import HostRecord, PairRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.rules.hosts import (
    extremes,
    highest_c,
    kind_of,
    pair_name,
    shared_machines,
)
from pytest_dllama.report.tables.emulation import between, off_set
from pytest_dllama.report.text.numbers import megahertz, number, plain, short, signed

MEBI = 2**20
# Title, metric, divisor, format
_FIGURES = (
    ("tokens/s", "tokens_per_s", 1, ".2f"),
    ("TPOT ms", "tpot_ms", 1, ".2f"),
    ("TTFT s", "ttft_s", 1, ".3f"),
    ("RCT s", "rct_s", 1, ".3f"),
    ("root MiB", "root_peak_rss_bytes", MEBI, ".0f"),
    ("worker MiB", "worker_peak_rss_bytes", MEBI, ".0f"),
    ("MB/token", "bytes_per_token", 1e6, ".4f"),
)
_HEADER = ("cell", *(title for title, *_ in _FIGURES), "output", "verdict")
_LEFT = (0, 8, 9)  # columns of words
_RANKS = ("p50", "p90", "p95", "p99")


def summary_lines(run: RunRecord) -> list[str]:
    """Header, one line a cell, and the reasons of every verdict that is not a plain PASS."""
    rows = [_HEADER, *(_row(cell) for cell in run.cells)]
    emulated = emulation_lines(run)
    machines = host_lines(run.hosts, run.pairs)
    roof = roofline_lines(run.cells)
    percentiles = percentile_lines(run.cells)
    return [
        *(*emulated[:1], *_aligned(rows), *emulated[1:], *percentiles),
        *(*machines, *roof, *_reasons(run.cells), *_notes(run)),
    ]


def _row(cell: CellRecord) -> tuple[str, ...]:
    return (
        f"{cell.id} ↻" if cell.retried else cell.id,
        *(_figure(cell, metric, unit, form) for _, metric, unit, form in _FIGURES),
        cell.output.status if cell.output else "-",
        cell.verdict.status if cell.verdict else "-",
    )


def _figure(cell: CellRecord, metric: str, unit: float, form: str) -> str:
    estimate = cell.metrics.get(metric)
    if estimate is None or not math.isfinite(estimate.value):
        return "-"
    return format(estimate.value / unit, form)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_cells(row, widths)).rstrip() for row in rows]


def _cells(row: tuple[str, ...], widths: Sequence[int]) -> list[str]:
    return [
        text.ljust(width) if column in _LEFT else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def _reasons(cells: Sequence[CellRecord]) -> list[str]:
    retried = [f"{cell.id}, measured anew ↻: {cell.retried}" for cell in cells if cell.retried]
    return retried + [
        f"{cell.id}, {cell.verdict.status}: {reason}"
        for cell in cells
        if cell.verdict
        for reason in cell.verdict.reasons
    ]


def _notes(run: RunRecord) -> list[str]:
    inject = run.request.inject
    slowed = [f"slowed down on purpose (--inject {inject})"] if inject else []
    return [f"note: {note}" for note in (*slowed, *_sharing(run), *run.notes)]


def _sharing(run: RunRecord) -> list[str]:
    """What to know of nodes that are processes of one machine; the report says it too."""
    if run.hosts:
        return [
            f"{', '.join(shared.names)} are one machine: its cores and its memory were shared"
            for shared in shared_machines(run.hosts)
        ]
    n_threads = max((cell.nodes for cell in run.cells), default=0) * (run.request.nthreads or 1)
    n_cores = run.environment.cpu_count
    if run.request.host_kind != "local" or n_threads <= n_cores:
        return []
    return [
        f"up to {n_threads} threads shared the {n_cores} cores of one machine: more nodes cannot "
        "be faster here; the figures show overheads, not the speed of separate machines"
    ]


def emulation_lines(run: RunRecord) -> list[str]:
    """What the links were set to, then for each cell how well they were kept."""
    if (emulation := run.emulation) is None:
        return []
    links = f"{emulation.text}: {emulation.network}"
    if emulation.text == emulation.network:
        links = emulation.text
    what = "boards" if emulation.board else "links"
    lines = [f"EMULATED {what} ({links}): all nodes are processes of this machine"]
    lines += [_computed(cell) for cell in run.cells if cell.computing]
    for cell in run.cells:
        if cell.links is None:
            continue
        found = cell.links.links
        medians, given = [link.median_us for link in found], [link.set_us for link in found]
        worst = plain(max((link.p99_us for link in found), default=None), 0)
        rates = [link.mbps for link in found if link.mbps is not None]
        carried = f", {between(rates, 1)} Mbit/s" if rates else ""
        busy = cell.links.busy_median_error_us
        beside = "" if busy is None else f"; off by {signed(busy, 0)} us while requests ran"
        if busy is not None and cell.links.busy_p99_error_us is not None:
            beside += f" (p99 {signed(cell.links.busy_p99_error_us, 0)})"
        if cell.links.n_messages:
            beside += f"; {cell.links.n_late or 0} of {cell.links.n_messages} messages late"
        lines.append(
            f"EMULATED links of {cell.id}: one-way delay {between(medians, 0)} us (median, set "
            f"{between(given, 0)}; p99 {worst}){carried}{beside}"
        )
    return lines


def _computed(cell: CellRecord) -> str:
    """How well the boards of a cell were kept."""
    took, given = ([one.ms for one in cell.computing], [one.set_ms for one in cell.computing])
    return (
        f"EMULATED boards of {cell.id}: computing {between(took, 3)} ms a token (set "
        f"{between(given, 3)}; off by {off_set(cell.computing)})"
    )


def host_lines(hosts: Sequence[HostRecord], pairs: Sequence[PairRecord]) -> list[str]:
    """The same for a terminal: a line a host, a line for the links."""
    return [*map(_host_line, hosts), *_links_line(pairs)]


def _host_line(host: HostRecord) -> str:
    parts = [
        kind_of(host),
        f"{host.cores} core{'s' if host.cores != 1 else ''}",
        f"Linux {host.kernel}",
    ]
    if host.governor:
        parts.append(f"governor {host.governor}")
    highest = highest_c(host)
    if highest is not None:
        before = f"{short(host.temperature_c)} to " if host.temperature_c is not None else ""
        parts.append(f"{before}{short(highest)} °C")
    if host.watch and host.watch.min_mhz is not None:
        parts.append(f"{megahertz(host.watch.min_mhz)} MHz or more")
    if host.watch and host.watch.throttled:
        parts.append(f"SLOWED DOWN during the run: {', '.join(host.watch.throttled)}")
    elif host.throttled:
        parts.append(f"before the run: {', '.join(host.throttled)}")
    return f"host {host.name}: {', '.join(parts)}"


def _links_line(pairs: Sequence[PairRecord]) -> list[str]:
    times = extremes(pairs, lambda pair: pair.rtt_ms)
    rates = extremes(pairs, lambda pair: pair.bandwidth_mbps)
    broken = [f"way {p.source} to {p.target}: {p.error}" for p in pairs if p.error]
    if times is None or rates is None:
        return broken
    (fastest, _), (slowest, far) = times
    (least, narrow), (most, _) = rates
    return [
        *broken,
        f"ways: round trip {fastest:.3f} to {slowest:.3f} ms ({pair_name(far)}), bandwidth "
        f"{least:.0f} ({pair_name(narrow)}) to {most:.0f} Mbit/s",
    ]


def percentile_lines(cells: Sequence[CellRecord]) -> list[str]:
    """P50 to P99 of each cell's requests, where there are requests enough for one of them."""
    rows = [
        (cell.id, name, str(found.n), *(_percentile(found, rank) for rank in _RANKS))
        for cell in cells
        for name, found in cell.percentiles.items()
        if name != "itl_ms" and found.p50 is not None
    ]
    if not rows:
        return []
    table = [("cell", "of requests", "n", *(rank.upper() for rank in _RANKS)), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)).rstrip() for r in table]


def _percentile(found: Percentiles, rank: str) -> str:
    value = getattr(found, rank)
    return "-" if value is None else f"{value:.4g}"


def roofline_lines(cells: Sequence[CellRecord]) -> list[str]:
    """For a terminal: a line for the cells that have a share."""
    known = [
        f"{cell.id} {number(part.value * 100, 0)}%"
        for cell in cells
        if (part := cell.metrics.get("roofline_share"))
    ]
    return [f"share of the memory roofline: {', '.join(known)}"] if known else []
