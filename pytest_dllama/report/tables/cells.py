"""Tables of single cells and of the definitions: outputs, thresholds, processes, links."""

from __future__ import annotations

from pytest_dllama.metrics.catalog import DISTRIBUTIONS, METRICS
from pytest_dllama.record.cell import CellRecord, ThresholdResult
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.tables.columns import (
    Code,
    Column,
    Definition,
    Entry,
    Nodes,
    Table,
    Word,
    metric_value,
)
from pytest_dllama.report.tables.models import output_state
from pytest_dllama.report.text.numbers import (
    MISSING,
    count,
    decimals_for,
    number,
    percent,
    plain,
    size,
    token_shown,
)

NARROW = 10.0  # percent of margin below which a kept limit is worth a look
FAR = 400.0  # percent of margin beyond which nobody could miss the limit
_NODES = Column("nodes")
_MODEL = Column("model", numeric=False)


def output_table(view: RunView) -> Table:
    """The state of every cell's output, and where it parts from the oracle."""
    texts = ("model", "output", "oracle_piece", "cell_piece")
    keys = (
        "nodes",
        "output",
        "position",
        "oracle_piece",
        "cell_piece",
        "logit_margin",
        "tolerance",
    )
    columns = (_MODEL, *(Column(key, numeric=key not in texts) for key in keys))
    return Table(columns, tuple(_output_row(cell) for cell in view.ordered()))


def unlike_table(view: RunView) -> Table | None:
    """Only the outputs that are not, token for token, the oracle's; None if all are."""
    alike = ("oracle", "identical")
    cells = [cell for cell in view.ordered() if cell.output and cell.output.status not in alike]
    parted = [cell for cell in cells if cell.output and cell.output.first_difference]
    whole = output_table(view)
    return Table(whole.columns, tuple(map(_output_row, parted))) if parted else None


def _output_row(cell: CellRecord) -> tuple[Entry, ...]:
    part = cell.output.first_difference if cell.output else None
    where: tuple[Entry, ...] = (MISSING,) * 5
    if part is not None:
        where = (
            str(part.position + 1),
            token_shown(part.oracle_piece, part.oracle_token_id),
            token_shown(part.cell_piece, part.cell_token_id),
            number(part.oracle_margin, decimals_for(part.oracle_margin, 3)),
            number(part.tolerance, decimals_for(part.tolerance, 3)),
        )
    return (name_of(cell), Nodes(cell.nodes), output_state(cell), *where)


def threshold_table(view: RunView) -> Table | None:
    """Every threshold against its cell, or None if none was set."""
    rows = tuple(
        _threshold_row(cell, result) for cell in view.ordered() for result in cell.thresholds
    )
    texts = ("metric", "result", "source")
    keys = ("nodes", "metric", "limit", "measured", "margin", "result", "source")
    columns = (_MODEL, *(Column(key, numeric=key not in texts) for key in keys))
    return Table(columns, rows) if rows else None


def narrow_table(view: RunView) -> Table | None:
    """The thresholds that were kept by a hair."""
    rows = tuple(
        _threshold_row(cell, result)
        for cell in view.ordered()
        for result in cell.thresholds
        if result.passed and result.margin_percent is not None and result.margin_percent < NARROW
    )
    whole = threshold_table(view)
    return Table(whole.columns, rows) if whole is not None and rows else None


def _threshold_row(cell: CellRecord, result: ThresholdResult) -> tuple[Entry, ...]:
    sign = "≤" if result.direction == "max" else "≥"
    return (
        name_of(cell),
        Nodes(cell.nodes),
        Code(result.metric),
        f"{sign} {metric_value(result.metric, result.limit)}",
        metric_value(result.metric, result.value),
        _margin(result.margin_percent),
        Word("result", "passed" if result.passed else "missed"),
        result.source,
    )


def _margin(found: float | None) -> Entry:
    far = found is not None and abs(found) > FAR
    return Word("margin", "far" if (found or 0) > 0 else "beyond") if far else percent(found)


def ranks_table(cell: CellRecord) -> Table | None:
    """The processes of a cell."""
    keys = ("address", "host", "rss", "pss", "weight_bytes", "kv_cache", "compute", "sync")
    columns = (
        Column("rank"),
        Column("role", numeric=False),
        *(Column(key, numeric=key not in ("address", "host")) for key in keys),
    )
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            str(rank.rank),
            Word("role", rank.role),
            rank.address,
            rank.hostname,
            size(rank.peak_rss_bytes),
            size(rank.peak_pss_bytes),
            size(rank.weight_bytes),
            size(rank.kv_cache_bytes),
            plain(rank.compute_s, 3),
            plain(rank.sync_s, 3),
        )
        for rank in sorted(cell.ranks, key=lambda rank: rank.rank)
    )
    return Table(columns, rows) if rows else None


def links_table(cell: CellRecord) -> Table | None:
    """The root's sockets."""
    links = cell.network.links if cell.network else ()
    keys = ("operations", "sent", "received", "avg", "maximum", "minimum", "p50", "p95", "p99")
    columns = (
        Column("peer"),
        *(Column(key) for key in keys),
        Column("bandwidth_mbps", unit="Mbit/s"),
    )
    rows: tuple[tuple[Entry, ...], ...] = tuple(
        (
            str(link.peer),
            count(link.operations),
            size(link.sent_bytes),
            size(link.recv_bytes),
            *(
                plain(value, 2)
                for value in (
                    *(link.avg_ms, link.max_ms, link.min_ms),
                    *(link.p50_ms, link.p95_ms, link.p99_ms, link.bandwidth_mbps),
                )
            ),
        )
        for link in links
    )
    return Table(columns, rows) if rows else None


def link_times_table(cell: CellRecord) -> Table | None:
    """Every link as the rank that awaits something on it lived it, and what its kernel tells."""
    network = cell.network
    if network is None or not network.times:
        return None
    tcp = {(link.rank, link.peer): link for link in network.tcp}
    rows = []
    for link in network.times:
        kernel = tcp.get((link.rank, link.peer))
        times = link.p50_ms, link.p99_ms, link.max_ms, link.waited_p50_ms, link.waited_p99_ms
        rows.append(
            (
                *(str(link.rank), str(link.peer), count(link.n)),
                *(plain(value, 3) for value in times),
                plain(link.waited_s, 2),
                plain(kernel.rtt_ms if kernel else None, 3),
                count(kernel.retransmits if kernel else None),
                plain(kernel.delivery_mbps if kernel else None, 0),
            )
        )
    keys = (
        *("rank", "peer", "operations", "p50", "p99", "maximum", "waited_p50", "waited_p99"),
        *("waited_in_all", "tcp_rtt", "sent_again", "tcp_rate"),
    )
    return Table(tuple(Column(key) for key in keys), tuple(rows))


def definitions_table(run: RunRecord) -> Table | None:
    """The run's own definitions, with unit and better side where the metric is known."""
    keys = ("metric", "unit", "better", "definition")
    rows = tuple(_definition_row(metric, text) for metric, text in run.definitions.items())
    return Table(tuple(Column(key, numeric=False) for key in keys), rows) if rows else None


def _definition_row(metric: str, text: str) -> tuple[Entry, ...]:
    listed = METRICS.get(metric)
    unit = text.rpartition(", ")[2] if metric in DISTRIBUTIONS else MISSING
    return (
        Code(metric),
        listed.unit if listed else unit,
        Word("better", listed.better) if listed else MISSING,
        Definition(metric, text),
    )
