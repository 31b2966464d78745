"""A run -> the one document that every page shows: blocks in order, in no language and no format.

A page (Markdown, and what may come) renders this document or a part of it; only the order here
says what is read first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import Block, Heading, Piece, Versus, Words
from pytest_dllama.report.pages.sections import (
    closing,
    comparison,
    correctness,
    details,
    opening,
    resources,
)
from pytest_dllama.report.tables.columns import Code

SECTIONS: tuple[Callable[[RunView], Iterable[Block]], ...] = (
    opening.overview,
    opening.hosts,
    opening.summary,
    comparison.models,
    resources.memory,
    resources.network,
    comparison.node_counts,
    comparison.scaling,
    correctness.correctness,
    details.details,
    closing.conclusions,
    closing.commands,
    closing.definitions,
    closing.identity,
)


@dataclass(frozen=True, slots=True)
class Document:
    """A page's content."""

    title: Heading
    blocks: tuple[Block, ...]


def report(view: RunView) -> Document:
    """The report of a run."""
    kind = "title.scaling" if len(view.node_counts) > 1 else "title.single"
    inject = view.run.request.inject
    slowed: tuple[Piece, ...] = ()
    if inject:
        slowed = (" — ", Words("title.injected"), ": ", Code(inject))
    title = Heading(1, (Words(kind), " (", Versus(view.models), ")", *slowed))
    return Document(title, tuple(block for section in SECTIONS for block in section(view)))
