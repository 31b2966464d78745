"""The questions that a reader has, each answered in a short section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    Heading,
    Items,
    Listed,
    NodeCount,
    Note,
    Piece,
    TableBlock,
    Words,
    heading,
    labelled,
    said,
    table,
)
from pytest_dllama.report.pages.sections.answer import MOST_TOLD, first_picture, picture
from pytest_dllama.report.plots.gallery import PICTURES, charts
from pytest_dllama.report.rules import answer, findings, limits, resources, status
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.hosts import about_links, problems
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.tables.answer import cells_table, left_out, metrics_table
from pytest_dllama.report.tables.cells import narrow_table, unlike_table
from pytest_dllama.report.tables.comparison import efficiency_table
from pytest_dllama.report.tables.emulation import emulated_boards_table, emulated_links_table
from pytest_dllama.report.tables.models import summary_table
from pytest_dllama.report.tables.token_time import token_time_table
from pytest_dllama.report.text.alike import alike

MOST_MODELS = 4  # with a table each, unfolded
MOST_NOTES = 8  # unfolded


def slower(view: RunView) -> Iterator[Block]:
    """Against the baseline and against fixed limits."""
    yield heading(2, "sections.slower")
    told: list[Piece] = [*answer.why(view)[MOST_TOLD:], *answer.other_changes(view), *_notes(view)]
    if view.verdict is None:
        told.append(Words("text.no_baseline"))
    told += status.thresholds(view) or [Words("text.no_thresholds")]
    yield from table(metrics_table(view, ("PASS",)))
    yield Items(tuple(told))
    yield from table(narrow_table(view))
    yield from _pictures(view, "ab")


def _notes(view: RunView) -> Iterator[Piece]:
    """Why cells have no verdict, and what limits those that have one."""
    for cell in answer.worst_first(view):
        yield from ((cell.id, ": ", Note(reason)) for reason in cell.reasons)
        notes = dict.fromkeys(one.note for one in cell.metrics if one.note)
        yield from ((cell.id, ": ", Note(note)) for note in notes)


def scales(view: RunView) -> Iterator[Block]:
    """Speed and memory by node count, and where more nodes stop helping."""
    yield heading(2, "sections.scales")
    many = len(view.models) > MOST_MODELS
    counts = dict.fromkeys(cell.nodes for cell in view.ordered() if cell.status == "ok")
    if many and len(counts) == 1 and view.verdict is None and not left_out(view):
        # the first screen has just shown them
        yield said("text.one_node_count", nodes=NodeCount(tuple(counts)))
    elif many:  # as a sweep gives: a table for all, one for each is among the folded
        yield from table(cells_table(view))
    for model in () if many else view.models:
        if len(view.models) > 1:
            yield heading(3, "headings.model", model=model)
        is_last = model == view.models[-1]
        yield TableBlock(summary_table(view, model), legends=is_last)
    if (efficiency := efficiency_table(view)) is not None:
        yield said("text.efficiency")
        yield TableBlock(efficiency)
        yield Items(tuple(findings.knees(view)))
    yield from _pictures(view, "tokens-per-s")


def token_time(view: RunView) -> Iterator[Block]:
    """What is computed and what is waited for; what limits it."""
    yield heading(2, "sections.token_time")
    found = token_time_table(view)
    if found is None:
        yield said("text.no_token_time")
    yield from table(found)
    yield Items(tuple(limits.limits_at_most_nodes(view)))
    yield from _pictures(view, "token-time")


def right(view: RunView) -> Iterator[Block]:
    """Outputs against the oracle's, bytes against the plan's."""
    yield heading(2, "sections.right")
    found = (*status.correctness(view)[:1], *resources.wire(view))
    yield Items(found or (Words("text.no_cell_measured"),))
    yield from table(unlike_table(view))


def trusted(view: RunView, undrawn: Mapping[str, str]) -> Iterator[Block]:
    """Repeats and their spread, cells that failed, machines, notes, pictures that are missing."""
    run = view.run
    yield heading(2, "sections.trusted")
    said_: list[Sentence] = [
        *status.overview(view),
        *answer.widest_spread(view),
        *answer.slow_gaps(view),
        *problems(run.hosts),
        *(about_links(view) if run.pairs else []),
        *resources.about_links_of_cells(view),
    ]
    groups = alike(run.notes)
    notes: list[Piece] = [_note(*group) for group in groups[:MOST_NOTES]]
    if (more := sum(1 + n for _, n in groups[MOST_NOTES:])) > 0:
        notes.append(Words("text.more_notes", n=str(more)))
    yield Items((*said_, *notes, *_undrawn(view, undrawn)))
    yield from table(emulated_boards_table(view), said("text.emulated_board_table"))
    yield from table(emulated_links_table(view), said("text.emulated_links"))


def _note(first: str, n_alike: int) -> Piece:
    more = (Words("text.alike_notes", n=str(n_alike)),) if n_alike else ()
    return labelled("note", Note(first), *more)


def _undrawn(view: RunView, failed: Mapping[str, str]) -> Iterator[Piece]:
    """Pictures that this run gives nothing for, and those that drawing failed of."""
    known = charts(view)
    missing = [name for name in PICTURES if name not in known and name != "ab"]
    if missing:
        pieces: list[Piece] = [
            (Words(f"pictures.{name}"), " (", Words(f"undrawn.{name}"), ")") for name in missing
        ]
        yield labelled("undrawn", Listed(tuple(pieces)))
    for name, error in failed.items():
        yield labelled("undrawn", Words(f"pictures.{name}"), f" ({error})")


def to_do(view: RunView) -> Iterator[Block]:
    """What the figures advise."""
    yield heading(2, "headings.recommendations")
    advice = recommendations(view)
    yield Items(tuple(advice) or (Words("text.no_recommendations"),))


def pictures(view: RunView) -> Iterator[Block]:
    """The pictures that no question has shown."""
    shown = {first_picture(view), "ab", "tokens-per-s", "token-time"}
    rest = [name for name in charts(view) if name not in shown]
    if rest:
        yield heading(2, "sections.pictures")
        for name in rest:
            yield Heading(3, Words(f"pictures.{name}"))
            yield picture(view, name)


def _pictures(view: RunView, name: str) -> Iterator[Block]:
    if name in charts(view) and name != first_picture(view):
        yield picture(view, name)
