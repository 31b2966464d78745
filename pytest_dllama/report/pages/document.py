"""A run -> the one document that every page shows: blocks in order, in no language and no format.

The answer first, then a short section for each question; all else is folded. A page renders this
document or a part of it; only the order here says what is read first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import Block, Heading, folded, heading
from pytest_dllama.report.pages.sections import (
    answer,
    closing,
    comparison,
    correctness,
    details,
    opening,
    questions,
    resources,
)

# Folded, each under its own heading.
APPENDIX: tuple[Callable[[RunView], Iterable[Block]], ...] = (
    opening.setup,
    opening.hosts,
    closing.choice,
    opening.summary,
    opening.verdicts,
    comparison.models,
    resources.memory,
    resources.energy,
    resources.network,
    comparison.node_counts,
    comparison.scaling,
    correctness.correctness,
    details.details,
    closing.commands,
    closing.definitions,
    closing.identity,
)


@dataclass(frozen=True, slots=True)
class Document:
    """A page's content."""

    title: Heading
    blocks: tuple[Block, ...]


def report(view: RunView, undrawn: Mapping[str, str] | None = None) -> Document:
    """The report of a run; `undrawn` names pictures that could not be drawn, with the reason."""
    blocks: list[Block] = [
        *answer.first_screen(view),
        *questions.slower(view),
        *questions.scales(view),
        *questions.token_time(view),
        *questions.right(view),
        *questions.trusted(view, undrawn or {}),
        *questions.to_do(view),
        heading(2, "sections.appendix"),
        *folded(questions.pictures(view)),
    ]
    for section in APPENDIX:
        blocks += folded(section(view))
    return Document(answer.title(view), tuple(blocks))
