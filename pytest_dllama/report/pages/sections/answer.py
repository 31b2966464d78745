"""The first screen: what came out, why, what to choose, what limits it, and one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dllama.report.figures.charts import MOST_PANELS
from pytest_dllama.report.figures.quantities import TOKENS_PER_S
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    Heading,
    Items,
    NodeCount,
    Paragraph,
    Picture,
    Piece,
    Strong,
    TableBlock,
    Versus,
    Words,
    joined,
    said,
)
from pytest_dllama.report.plots.gallery import PICTURES, charts
from pytest_dllama.report.rules import answer, limits, status
from pytest_dllama.report.rules.advice import recommendations
from pytest_dllama.report.rules.comparison import best_nodes
from pytest_dllama.report.rules.hosts import kind_of, shared_machines, throttled
from pytest_dllama.report.rules.pictures import finding
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.scaling import (
    AvoidNodes,
    FasterModel,
    FewerNodes,
    UseNodes,
)
from pytest_dllama.report.tables.answer import answer_table, left_out
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.text.numbers import count, moment

FIRST = ("ab", "tokens-per-s", "token-time")  # the picture of the first screen, the first known
OF_CHOICE = (UseNodes, FewerNodes, AvoidNodes, FasterModel)  # told by the best count
MOST_TOLD = 3  # of reasons, limits and things to do


def title(view: RunView) -> Heading:
    """The verdict in a line, and what was emulated or made slower on purpose."""
    if emulation := view.run.emulation:
        what = Words("text.emulated_boards" if emulation.board else "text.emulated")
        emulated = " — ", what, ": ", Code(emulation.text)
        return Heading(1, (answer.headline(view), *emulated))
    if inject := view.run.request.inject:
        slowed = " — ", Words("text.injected"), ": ", Code(inject)
        return Heading(1, (answer.headline(view), *slowed))
    return Heading(1, answer.headline(view))


def first_screen(view: RunView) -> Iterator[Block]:
    """At most 25 lines of Markdown."""
    yield Paragraph(joined(list(_identity(view)), " · "))
    if (table := answer_table(view)) is not None:
        yield TableBlock(table)
    if more := left_out(view):
        yield said("text.more_cells", n=count(more))
    yield Items(tuple(_points(view)))
    if name := first_picture(view):
        yield picture(view, name)


def _identity(view: RunView) -> Iterator[Piece]:
    """Models, node counts, machines, repeats or pairs, when."""
    run = view.run
    names = tuple(dict.fromkeys(cell.model for cell in view.ordered())) or view.models
    yield Versus(names[:MOST_TOLD])
    if (n_loads := len({cell.workload for cell in view.ordered()})) > 1:
        yield Words("text.workloads", n=count(n_loads))
    if view.node_counts:
        yield Words("text.on_nodes", nodes=NodeCount(view.node_counts))
    if run.hosts:
        kinds = list(dict.fromkeys(kind_of(host) for host in run.hosts))
        yield (f"{len(run.hosts)} × ", joined(kinds, " / "))
    else:
        yield Words(f"host_kind.{run.request.host_kind}")
    compared = answer.compared(view)
    repeats = run.request.repeats
    repeated = Words("text.repeated_once" if repeats == 1 else "text.repeated", n=count(repeats))
    yield compared[0] if compared else repeated
    yield moment(run.created_utc)


def _points(view: RunView) -> Iterator[Piece]:
    """Labelled lines: why, the best node count, the limit, what to do; without a rule, none."""
    heated = [*throttled(view)]
    tops = best_nodes(view, TOKENS_PER_S)
    for key, found in (
        ("why", [*answer.why(view), *status.why_not(view)]),
        ("open", answer.undecided(view)),
        (
            "caution",
            [
                *status.shared_cores(view),
                *shared_machines(view.run.hosts),
                *status.doubted(view),
            ],
        ),
        ("slowed", heated),
        ("best_count", tops),
        ("limit_now", limits.limits(view)),
        ("to_do", _urgent(view, [*tops, *heated])),
    ):
        if found:
            told = joined(_first_of_each(found)[:MOST_TOLD], "; ")
            yield (Strong(Words(f"labels.{key}")), ": ", told)


def _first_of_each(found: Sequence[Sentence]) -> list[Piece]:
    """The statements; if there is no room for all, the first of each kind with how many follow."""
    if len(found) <= MOST_TOLD:
        return list(found)
    kinds: dict[type[Sentence], list[Sentence]] = {}
    for one in found:
        kinds.setdefault(type(one), []).append(one)
    return [
        (alike[0], Words("text.alike", n=count(len(alike) - 1))) if len(alike) > 1 else alike[0]
        for alike in kinds.values()
    ]


def _urgent(view: RunView, told: list[Sentence]) -> list[Sentence]:
    """What to do that is not said by the lines above."""
    found = [said for said in recommendations(view) if said not in told]
    return [said for said in found if not isinstance(said, OF_CHOICE)][:1]


def first_picture(view: RunView) -> str | None:
    """The name of the first screen's picture, if any can be drawn."""
    known = charts(view)
    return next((name for name in (*FIRST, *PICTURES) if name in known), None)


def picture(view: RunView, name: str) -> Picture:
    """A picture with the words for those who cannot see it."""
    told = finding(view, name)
    words: Piece = Words(f"pictures.{name}")
    n_panels = len(charts(view)[name].panels)
    if n_panels > MOST_PANELS:
        shown, known = count(MOST_PANELS), count(n_panels)
        words = (words, " (", Words("text.first_panels", shown=shown, known=known), ")")
    return Picture(name, (words, ": ", joined(told, "; ")) if told else words)
