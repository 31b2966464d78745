"""What follows from the run, and the appendices: commands, definitions, identity."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    CodeBlock,
    Items,
    NodeCount,
    Paragraph,
    Piece,
    Rule,
    TableBlock,
    Words,
    heading,
    labelled,
    said,
    table,
)
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.findings import findings
from pytest_dllama.report.rules.status import worker_count_wrong
from pytest_dllama.report.tables.cells import definitions_table
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.tables.models import choice_table
from pytest_dllama.report.text.numbers import MISSING, number
from pytest_dllama.report.text.shell import wrapped


def conclusions(view: RunView) -> Iterator[Block]:
    """Findings, the choice of a node count, and what to do."""
    yield heading(2, "sections.findings")
    yield heading(3, "headings.findings")
    yield Items(tuple(findings(view)), numbered=True)
    if len(view.node_counts) > 1:
        yield heading(3, "headings.choice" if len(view.models) > 1 else "headings.best")
        yield said("text.choice")
        yield TableBlock(choice_table(view))
    yield heading(3, "headings.recommendations")
    advice = recommendations(view)
    yield Items(tuple(advice) or (Words("text.no_recommendations"),))


def commands(view: RunView) -> Iterator[Block]:
    """What runs each cell by hand."""
    yield Rule()
    yield heading(2, "sections.commands")
    yield said("text.commands")
    for model in view.models:
        yield heading(3, "headings.model", model=model)
        for nodes in view.node_counts:
            cell = view.cell(model, nodes)
            if cell is not None and cell.commands:
                yield heading(4, "headings.nodes", nodes=NodeCount(nodes))
                yield from _commands_of(cell)


def _commands_of(cell: CellRecord) -> Iterator[Block]:
    assert cell.commands is not None
    if (wrong := worker_count_wrong(cell)) is not None:
        yield Paragraph(("⚠️ ", wrong))
    yield Paragraph((Words("labels.root_command"), ":"))
    yield CodeBlock(wrapped(cell.commands.root), "bash")
    if cell.commands.workers:
        yield Paragraph((Words("labels.worker_commands"), ":"))
    for worker in cell.commands.workers:
        yield CodeBlock(wrapped(worker), "bash")


def definitions(view: RunView) -> Iterator[Block]:
    """What the metrics mean."""
    yield heading(2, "sections.definitions")
    yield from table(definitions_table(view.run))
    yield said("text.definitions")


def identity(view: RunView) -> Iterator[Block]:
    """Which run this is."""
    run = view.run
    wall = number(run.wall_s, 1)
    fields: list[Piece] = [
        labelled("created", run.created_utc),
        labelled("version", f"pytest-dllama {run.environment.pytest_dllama}"),
        labelled("schema", str(run.schema_version)),
        labelled("wall", wall if wall == MISSING else f"{wall} s"),
        labelled("cells", str(len(view.cells))),
        labelled("host", run.environment.hostname),
    ]
    if run.fingerprint:
        fields.append(labelled("fingerprint", Code(run.fingerprint)))
    yield heading(2, "sections.identity")
    yield Items(tuple(fields))
