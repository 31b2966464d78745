"""Payload a token against the closed form of the shard plan."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.cell_detail import median_sample
from pytest_dllama.report.figures.charts import Chart, Curve, Lines, Point
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.text.numbers import KIB


def bytes_per_token(view: RunView) -> Chart | None:
    """Payload of the whole request on the root's sockets over its tokens, prompt included."""
    panels = tuple(panel for model in view.models if (panel := _panel(view, model)))
    return Chart("bytes-per-token", "nodes", "KiB a token", panels) if panels else None


def _panel(view: RunView, model: str) -> Lines | None:
    counted, expected = [], []
    for nodes in view.node_counts:
        cell = view.cell(model, nodes)
        tokens = _tokens(cell)
        if cell is None or cell.network is None or not tokens:
            continue
        network = cell.network
        if network.payload_bytes is not None:
            counted.append(Point(nodes, network.payload_bytes / tokens / KIB))
        if network.expected_payload_bytes is not None:
            expected.append(Point(nodes, network.expected_payload_bytes / tokens / KIB))
    if len(counted) < 2:
        return None
    curves = [Curve("counted", tuple(counted))]
    if expected:
        curves.append(Curve("closed form", tuple(expected), "limit"))
    return Lines(model, tuple(curves), tuple(int(p.x) for p in counted))


def _tokens(cell: CellRecord | None) -> int:
    sample = median_sample(cell) if cell is not None and cell.status == "ok" else None
    return max(sample.prefill_tokens + sample.decode_tokens, 0) if sample else 0
