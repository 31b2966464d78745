"""Whether outputs are right and limits kept."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.pages.blocks import (
    Block,
    CodeBlock,
    Items,
    NodeCount,
    Note,
    Paragraph,
    TableBlock,
    Words,
    heading,
    labelled,
    said,
)
from pytest_dllama.report.rules import status
from pytest_dllama.report.tables.cells import output_table, threshold_table


def correctness(view: RunView) -> Iterator[Block]:
    """Outputs against the oracle's, with both texts where they part; then the thresholds."""
    yield heading(2, "sections.correctness")
    yield said("text.correctness")
    yield Items(tuple(status.correctness(view)[1:]))
    if view.cells:
        yield TableBlock(output_table(view))
    for cell in view.ordered():
        yield from _texts(cell)
    limits = threshold_table(view)
    if limits is not None:
        yield heading(2, "sections.thresholds")
        yield said("text.thresholds")
        yield TableBlock(limits)


def _texts(cell: CellRecord) -> Iterator[Block]:
    output = cell.output
    if output is None or output.status not in ("tie", "different", "engine_fault"):
        return
    yield heading(3, "headings.texts", model=name_of(cell), nodes=NodeCount(cell.nodes))
    yield Paragraph((Words("labels.oracle_text"), ":"))
    yield CodeBlock(output.oracle_text or "-")
    yield Paragraph((Words("labels.cell_text"), ":"))
    yield CodeBlock(output.text)
    if output.note:
        yield Paragraph(labelled("note", Note(output.note)))
