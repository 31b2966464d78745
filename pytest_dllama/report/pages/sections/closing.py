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
    TableBlock,
    Words,
    heading,
    label,
    labelled,
    said,
    table,
)
from pytest_dllama.report.rules import scenarios
from pytest_dllama.report.rules.status import worker_count_wrong
from pytest_dllama.report.tables.cells import definitions_table
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.tables.comparison import choice_table, scenario_table
from pytest_dllama.report.text.numbers import MISSING, number
from pytest_dllama.report.text.shell import wrapped


def choice(view: RunView) -> Iterator[Block]:
    """Which model and how many nodes, for which case; what to check before buying or changing."""
    yield heading(2, "sections.choice")
    if len(view.node_counts) > 1:
        yield heading(3, "headings.choice" if len(view.models) > 1 else "headings.best")
        yield said("text.choice")
        yield TableBlock(choice_table(view))
        yield Items(tuple(scenarios.model_choice(view)))
    yield from table(scenario_table(view), heading(3, "headings.scenarios"), said("text.scenarios"))
    if advice := scenarios.network_advice(view):
        yield heading(3, "headings.network_advice")
        yield Items(tuple(advice))
    lists = scenarios.checklist(view)
    if any(lists.values()):
        yield heading(3, "headings.checklist")
    for group, items in lists.items():
        if items:
            yield label(group)
            yield Items(tuple(("☐ ", item) for item in items))


def commands(view: RunView) -> Iterator[Block]:
    """What runs each cell by hand."""
    yield heading(2, "sections.commands")
    yield said("text.commands")
    workers = [c.commands.workers[0] for c in view.ordered() if c.commands and c.commands.workers]
    if workers:
        yield Paragraph((Words("labels.worker_command"), ":"))
        yield CodeBlock(wrapped(workers[0]), "bash")
    for model in view.models:
        cells = [view.cell(model, nodes) for nodes in view.node_counts]
        known = [cell for cell in cells if cell is not None and cell.commands]
        if known:
            yield heading(3, "headings.model", model=model)
        for cell in known:
            yield from _command_of(cell)


def _command_of(cell: CellRecord) -> Iterator[Block]:
    assert cell.commands is not None
    yield heading(4, "headings.nodes", nodes=NodeCount(cell.nodes))
    if (wrong := worker_count_wrong(cell)) is not None:
        yield Paragraph(("⚠️ ", wrong))
    yield CodeBlock(wrapped(cell.commands.root), "bash")


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
