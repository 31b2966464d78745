"""Every cell by itself: dllama's blocks, metrics, network, text, verdict and logs."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.report.figures import cell_detail as detail
from pytest_dllama.report.figures.quantities import MEMORY
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    CodeBlock,
    Items,
    Listed,
    NodeCount,
    Note,
    Paragraph,
    Piece,
    Strong,
    Words,
    heading,
    joined,
    label,
    labelled,
    said,
    table,
)
from pytest_dllama.report.pages.sections.comparison import estimate
from pytest_dllama.report.pages.sections.opening import codes
from pytest_dllama.report.rules.resources import is_scattered
from pytest_dllama.report.tables.cells import link_times_table, links_table, ranks_table
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.text.numbers import MISSING, count, plain, share, size


def details(view: RunView) -> Iterator[Block]:
    """All cells, by model and node count."""
    for model in view.models:
        yield heading(2, "headings.model_details", model=model)
        for number, nodes in enumerate(view.node_counts, start=1):
            yield heading(3, "headings.nodes", number, nodes=NodeCount(nodes))
            yield from _cell(view, view.cell(model, nodes))


def _cell(view: RunView, cell: CellRecord | None) -> Iterator[Block]:
    if cell is None:
        yield said("text.no_cell")
        return
    if cell.status == "ok":
        yield from _measured(cell, view.run.request.n_batches)
    else:
        yield Paragraph(Strong(Words(f"cell_status.{cell.status}")))
        yield CodeBlock(cell.error or Words("text.no_error"))
    if cell.verdict:
        status = Words(f"verdict.{cell.verdict.status}")
        yield Paragraph((Strong((Words("columns.verdict"), ":")), " ", status))
        yield Items(tuple(map(Note, cell.verdict.reasons)))
    if cell.logs:
        yield Paragraph(labelled("logs", *codes(list(cell.logs))))


def _measured(cell: CellRecord, n_batches: int | None) -> Iterator[Block]:
    yield label("memory")
    yield Items(
        tuple((Words(f"quantities.{q.key}.short"), ": ", estimate(q, cell)) for q in MEMORY)
    )
    yield from table(ranks_table(cell))
    if (sample := detail.median_sample(cell)) is not None:
        yield label("phases")
        yield CodeBlock(detail.phase_blocks(sample, n_batches))
    yield label("metrics")
    yield Items(tuple(_metrics(cell)))
    if cell.network is not None:
        yield from _network(cell, cell.network)
    else:
        yield said("text.one_node" if cell.nodes == 1 else "text.no_network")
    if cell.output:
        state = Words(f"output.{cell.output.status}")
        yield Paragraph((Strong(Words("labels.generated")), " (", state, "):"))
        yield CodeBlock(cell.output.text)


def _metrics(cell: CellRecord) -> Iterator[Piece]:
    for line in detail.metric_lines(cell):
        spread: Piece = ""
        if line.spread:
            ends = {
                "low": plain(line.spread.minimum, line.decimals),
                "high": plain(line.spread.maximum, line.decimals),
            }
            spread = (" (", Words("phrases.range", n=str(line.spread.n), **ends), ")")
        yield (f"{line.name}: {line.text}", spread)
    if gaps := detail.itl_percentiles(cell):
        yield ("ITL_MS: ", _percentiles(gaps))


def _percentiles(found: list[detail.Percentile]) -> Piece:
    return joined([(f"P{one.percent}: ", _percentile(one)) for one in found])


def _percentile(one: detail.Percentile) -> Piece:
    if one.too_few:
        return Words("phrases.too_few", n=str(one.n), needed=str(one.needed))
    text = plain(one.value_ms, 2)
    return text if text == MISSING else f"{text} ms"


def _network(cell: CellRecord, network: NetworkRecord) -> Iterator[Block]:
    yield label("network_figures")
    yield Items(
        (
            labelled("operations", count(network.operations)),
            labelled("total_bytes", size(network.total_bytes), _parts(network)),
            labelled("avg_ms", f"{plain(network.avg_ms, 2)} ms"),
            labelled("max_ms", f"{plain(network.max_ms, 2)} ms"),
            labelled("min_ms", f"{plain(network.min_ms, 2)} ms"),
            labelled("bandwidth", f"{plain(network.bandwidth_mbps, 2)} Mbit/s"),
            labelled("sync_share", share(network.sync_share)),
        )
    )
    yield label("bottleneck")
    yield Items(tuple(_bottlenecks(cell, network)))
    yield from table(links_table(cell))
    yield from table(link_times_table(cell), label("links"), said("text.link_times"))
    if network.ops:
        yield label("op_analysis")
        yield Items(tuple(_operations(network)))


def _parts(network: NetworkRecord) -> Piece:
    if network.payload_bytes is None or network.framing_bytes is None:
        return ""
    payload, framing = size(network.payload_bytes), size(network.framing_bytes)
    return (" (", Words("phrases.payload", payload=payload, framing=framing), ")")


def _bottlenecks(cell: CellRecord, network: NetworkRecord) -> Iterator[Piece]:
    if network.slowest_peer is not None:
        yield labelled("slowest", _slowest_link(network, cell))
    yield _percentiles(detail.percentiles(network))
    if is_scattered(cell):
        peers = Listed(tuple(str(peer) for peer in network.high_variance_peers))
        which = (" (", Words("labels.peers"), " ", peers, ")") if peers.pieces else ""
        yield ("⚠️ ", Words("text.scattered"), which)


def _slowest_link(network: NetworkRecord, cell: CellRecord) -> Piece:
    """The slowest peer with its address and average latency, as far as they are known."""
    peer = network.slowest_peer
    address = next((rank.address for rank in cell.ranks if rank.rank == peer), "")
    latency = next((link.avg_ms for link in network.links if link.peer == peer), None)
    shown: Piece = str(peer) if address in ("", MISSING) else (f"{peer} ", Code(address))
    if latency is None and len(network.links) < 2 and cell.nodes == 2:
        latency = network.avg_ms  # a single link: the average over all is its own
    if latency is None:
        return shown
    return Words("phrases.link", peer=shown, avg=plain(latency, 2))


def _operations(network: NetworkRecord) -> Iterator[str]:
    for op in network.ops:
        parts = [f"{count(op.operations)} ops", size(op.bytes), f"{plain(op.avg_ms, 2)} ms avg"]
        if op.p95_ms is not None:
            parts.append(f"P95 {plain(op.p95_ms, 2)} ms")
        if op.max_ms is not None:
            parts.append(f"max {plain(op.max_ms, 2)} ms")
        yield f"{op.op}: {', '.join(parts)}"
