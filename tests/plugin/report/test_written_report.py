"""Our report of a hand-written report's six cells has every row that it has, figure by figure.

What is compared is the table data that both languages are made of, and that the document holds
these tables. Deliberately otherwise, each once below: memory is in MiB (there in GB of 10^9), total
traffic is compared as a difference of it (there as a share), percentages are rounded (there three
were cut off), growth has a decimal more, and network comparisons have the percent column too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_dllama.forensics.import_report import import_report
from pytest_dllama.report.figures.quantities import (
    BANDWIDTH,
    LATENCY,
    RCT,
    TOKENS_PER_S,
    TOTAL_BYTES,
    TPOT,
    TTFT,
    Quantity,
)
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import Block, Details, TableBlock
from pytest_dllama.report.pages.document import report
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.tables.columns import Nodes, NodeStep, Starred, Table
from pytest_dllama.report.tables.comparison import comparison_table, scaling_table
from pytest_dllama.report.tables.models import memory_table, network_table, summary_table
from tests.plugin.forensics.written_report import CELLS, FACTS, as_markdown

MODELS = ("Llama-13B", "Llama-30B")
NODES = (2, 4, 8)
BEST = 4  # nodes, "최적 구성" there
GB, MIB = 1e9, 2**20
# key in the facts -> our quantity and the decimals printed
SPEEDS = {
    "tokens_per_s": (TOKENS_PER_S, 2), "tpot_ms": (TPOT, 2), "ttft_s": (TTFT, 3), "rct_s": (RCT, 3),
}  # fmt: skip
NETWORK = {"total_mb": TOTAL_BYTES, "avg_ms": LATENCY, "bandwidth_mbps": BANDWIDTH}
# Cut off there, rounded here: -0.52 / 0.83 is -62.65 %, -8.333 / 16.002 is -52.07 % and
# -157.004 / 309.349 is -50.753 %.
ROUNDED = {
    ("scaling", "Llama-13B", 4): "-62.7%",
    ("ttft_s", 2): "-52.1%",
    ("rct_s", 2): "-50.8%",
}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    path = tmp_path_factory.mktemp("report") / "scaling.ko.md"
    path.write_text(as_markdown(FACTS), encoding="utf-8")
    return RunView.of(import_report(path))


def facts_of(model: str, nodes: int) -> dict[str, Any]:
    (found,) = [cell for cell in CELLS if (cell["model"], cell["nodes"]) == (model, nodes)]
    return found


def by_nodes(table: Table) -> dict[int, list[Any]]:
    """Node count -> the other entries of its row; the rows are those of the report, in order."""
    rows: dict[int, list[Any]] = {}
    for first, *rest in table.rows:
        entry = first.entry if isinstance(first, Starred) else first
        assert isinstance(entry, Nodes)
        rows[entry.n] = rest
    assert tuple(rows) == NODES
    assert len(rows) == len(table.rows)
    return rows


def printed_gb(text: str | None) -> float | None:
    """`7,338 MB` and `12 GB` in GB."""
    if text is None:
        return None
    figure, unit = text.replace(",", "").split()
    return float(figure) / {"MB": 1000, "GB": 1}[unit]


def our_gb(text: str) -> float | None:
    """A figure of a column in MiB, in GB: as exact as its one decimal."""
    return None if text == "-" else round(float(text.replace(",", "")) * MIB / GB, 3)


@pytest.mark.parametrize("model", MODELS)
def test_summary_of_each_model(view: RunView, model: str) -> None:
    table = summary_table(view, model)
    assert [(c.key, c.unit) for c in table.columns[:7]] == [
        ("nodes", ""), ("root_memory", "MiB"), ("worker_memory", "MiB"), ("tokens_per_s", ""),
        ("tpot_ms", "ms"), ("ttft_s", "s"), ("rct_s", "s"),
    ]  # fmt: skip
    for nodes, (root, worker, *speeds, _output, _verdict) in by_nodes(table).items():
        facts = facts_of(model, nodes)
        assert our_gb(root) == printed_gb(facts.get("root"))
        assert our_gb(worker) == printed_gb(facts.get("worker"))
        assert speeds == [f"{facts[key]:.{n}f}" for key, (_, n) in SPEEDS.items()]
    starred = [row[0].entry for row in table.rows if isinstance(row[0], Starred)]
    assert starred == [Nodes(BEST)]


@pytest.mark.parametrize("key", SPEEDS)
def test_model_against_model_in_speed(view: RunView, key: str) -> None:
    quantity, decimals = SPEEDS[key]
    table = comparison_table(view, quantity)
    assert [c.model for c in table.columns[1:3]] == list(MODELS)
    printed = zip(NODES, FACTS["comparison"][key], strict=True)
    found = by_nodes(table)
    for nodes, (difference, percent) in printed:
        both = [f"{facts_of(model, nodes)[key]:.{decimals}f}" for model in MODELS]
        assert found[nodes] == [*both, difference, ROUNDED.get((key, nodes), percent)]


def test_memory_of_both_models(view: RunView) -> None:
    table = memory_table(view)
    assert [(c.key, c.model, c.unit) for c in table.columns[1:]] == [
        (f"{role}_memory_of", model, "MiB") for role in ("root", "worker") for model in MODELS
    ]
    for nodes, row in by_nodes(table).items():
        printed = [facts_of(m, nodes).get(role) for role in ("root", "worker") for m in MODELS]
        assert list(map(our_gb, row)) == list(map(printed_gb, printed))


@pytest.mark.parametrize("model", MODELS)
def test_network_of_each_model(view: RunView, model: str) -> None:
    """There the rows stand under each node count; MB of the network are of 2^20 there, so MiB."""
    table = network_table(view, model)
    keys = [column.key for column in table.columns[1:]]
    assert table.columns[1].unit == "MiB"
    for nodes, row in by_nodes(table).items():
        found = dict(zip(keys, row, strict=True))
        facts = facts_of(model, nodes)
        assert found == {
            "total_bytes": f"{facts['total_mb']:,.2f}",
            "avg_ms": f"{facts['avg_ms']:.2f}",
            "bandwidth_mbps": f"{facts['bandwidth_mbps']:.2f}",
            "bytes_per_token": "-",  # that monitor told neither
            "sync_share": "-",
        }


@pytest.mark.parametrize("key", NETWORK)
def test_model_against_model_in_the_network(view: RunView, key: str) -> None:
    found = by_nodes(comparison_table(view, NETWORK[key]))
    for nodes, printed in zip(NODES, FACTS["comparison"][key], strict=True):
        first, second, difference, percent = found[nodes]
        comma = "," if key == "total_mb" else ""
        assert [first, second] == [f"{facts_of(m, nodes)[key]:{comma}.2f}" for m in MODELS]
        if key != "total_mb":  # no percent there; ours follows from the two figures beside it
            assert difference == printed
            a, b = (facts_of(model, nodes)[key] for model in MODELS)
            assert percent == f"{(a - b) / b * 100:+.1f}%"
            continue
        assert difference == printed[0]
        share = 100 + float(percent.rstrip("%"))  # 13B in percent of 30B; ours is the difference
        assert f"{share:.1f}%" == printed[1]


@pytest.mark.parametrize("key", ["tokens_per_s", "total_mb", "avg_ms"])
def test_scaling_from_step_to_step(view: RunView, key: str) -> None:
    quantity: Quantity = {**NETWORK, "tokens_per_s": TOKENS_PER_S}[key]
    table = scaling_table(view, quantity)
    assert [row[0] for row in table.rows] == [NodeStep(2, 4), NodeStep(4, 8)]
    for column, model in enumerate(MODELS, start=1):
        printed = FACTS["scaling"][model][key]
        for (start, _), row, there in zip(((2, 4), (4, 8)), table.rows, printed, strict=True):
            ours = str(row[column])
            if "." not in there:  # growth of traffic and latency is printed in whole percent
                ours = f"{float(ours.rstrip('%')):+.0f}%"
            wanted = (
                ROUNDED.get(("scaling", model, start), there) if key == "tokens_per_s" else there
            )
            assert ours == wanted


def tables_of(blocks: tuple[Block, ...]) -> Iterator[Table]:
    for block in blocks:
        if isinstance(block, Details):
            yield from tables_of(block.blocks)
        elif isinstance(block, TableBlock):
            yield block.table


def test_the_document_holds_every_one_of_these_tables(view: RunView) -> None:
    held = list(tables_of(report(view).blocks))
    wanted = [
        *(summary_table(view, model) for model in MODELS),
        *(comparison_table(view, quantity) for quantity, _ in SPEEDS.values()),
        memory_table(view),
        *(network_table(view, model) for model in MODELS),
        *(comparison_table(view, quantity) for quantity in NETWORK.values()),
        *(scaling_table(view, quantity) for quantity in (TOKENS_PER_S, TOTAL_BYTES, LATENCY)),
    ]
    assert [table for table in wanted if table not in held] == []


@pytest.mark.parametrize("facts", CELLS, ids=lambda c: f"{c['model']}-{c['nodes']}")
def test_details_of_each_cell(view: RunView, facts: dict[str, Any]) -> None:
    """Phases, metrics, network and operations of a cell, in the Korean report's own lines."""
    text = render(view.run, "ko")
    of_model = text.partition(f"{facts['model']} 모델 상세 결과")[2].partition("</details>")[0]
    _, _, rest = of_model.partition(f"{facts['nodes']}대 구성")
    lines = [line.removeprefix("- ").strip() for line in rest.split("\n### ")[0].splitlines()]
    wanted = [
        f"nBatches: {facts['n_batches']}",
        *(f"nTokens: {facts[phase][0]}" for phase in ("evaluation", "prediction")),
        *(
            f"tokens/s: {facts[phase][1]:.2f} ({facts[phase][2]:.2f} ms/tok)"
            for phase in ("evaluation", "prediction")
        ),
        f"InputTokens: {facts['n_input_tokens']}",
        f"OutputTokens: {facts['n_output_tokens']}",
        f"TokensPerSecond: {facts['tokens_per_s']:.2f}",
        f"TPOT_MS: {facts['tpot_ms']:.2f}",
        f"TTFT_S: {facts['ttft_s']:.3f}",
        f"RCT_S: {facts['rct_s']:.3f}",
        f"총 작업 수: {facts['operations']:,}",
        f"총 전송량: {facts['total_mb']:,.2f} MiB",
        f"평균 지연시간: {facts['avg_ms']:.2f} ms",
        f"최대 지연시간: {facts['max_ms']:.2f} ms",
        f"최소 지연시간: {facts['min_ms']:.2f} ms",
        f"대역폭: {facts['bandwidth_mbps']:.2f} Mbit/s",
        ", ".join(
            f"P{n}: {ms:.2f} ms"
            for n, ms in zip((50, 95, 99), facts["percentiles_ms"], strict=True)
        ),
    ]
    assert [line for line in wanted if line not in lines] == []
    operations = [_operation(line.replace("\\", "")) for line in lines if " ops, " in line]
    assert operations == [tuple(line) for line in facts["operation_lines"]]


def _operation(line: str) -> tuple[str, int, float, float]:
    """`NAME: N ops, 23.78 MiB, 1.98 ms avg`, its size in MiB whatever unit it is shown in."""
    name, _, rest = line.partition(": ")
    n, size, avg = rest.split(", ")
    figure, unit = size.split()
    mib = float(figure.replace(",", "")) / {"KiB": 1024, "MiB": 1}[unit]
    return name, int(n.removesuffix(" ops")), round(mib, 2), float(avg.removesuffix(" ms avg"))


def test_what_is_wrong_with_it_is_told_in_korean(view: RunView) -> None:
    text = render(view.run, "ko")
    notes = [line for line in text.splitlines() if line.startswith("- 참고: ")]
    assert len(notes) >= 3
    english = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
    assert [line for line in text.splitlines() if english.search(line)] == []


def test_the_slowest_link_is_that_to_rank_1_and_has_no_address(view: RunView) -> None:
    assert "- Slowest link: 1 (average latency: 3.13 ms)\n" in render(view.run, "en")
