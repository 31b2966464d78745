"""Memory, energy and network of all models."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dllama.report.figures.quantities import NETWORK
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    Items,
    TableBlock,
    analysis,
    heading,
    said,
    table,
)
from pytest_dllama.report.pages.sections.comparison import compared
from pytest_dllama.report.rules import resources
from pytest_dllama.report.rules.energy import about_energy
from pytest_dllama.report.rules.roofline import about_roofline
from pytest_dllama.report.tables.energy import energy_table, machines_table
from pytest_dllama.report.tables.loading import loading_table
from pytest_dllama.report.tables.models import is_known, memory_table, network_table
from pytest_dllama.report.tables.roofline import roofline_table


def memory(view: RunView) -> Iterator[Block]:
    """Peaks of root and workers, and what memory's bandwidth allows."""
    yield heading(2, "sections.memory")
    yield said("text.memory")
    yield TableBlock(memory_table(view))
    yield from analysis(resources.memory(view))
    yield from table(loading_table(view), heading(3, "headings.loading"), said("text.loading"))
    if (limits := roofline_table(view)) is not None:
        yield heading(3, "headings.roofline")
        yield said("text.roofline")
        yield TableBlock(limits)
        yield Items(tuple(about_roofline(view)))


def energy(view: RunView) -> Iterator[Block]:
    """What tokens and requests cost; nothing where nobody asked."""
    if not view.run.power:
        return
    yield heading(2, "sections.energy")
    if (cells := energy_table(view)) is not None:
        yield said("text.energy")
        yield TableBlock(cells)
        yield from table(machines_table(view))
    yield Items(tuple(about_energy(view)))


def network(view: RunView) -> Iterator[Block]:
    """Traffic and latency of each model, then of all together."""
    yield heading(2, "sections.network")
    yield said("text.network")
    for model in view.models:
        yield heading(3, "headings.model", model=model)
        yield TableBlock(network_table(view, model))
    if len(view.models) > 1:
        for quantity in NETWORK:
            if is_known(view, quantity):
                yield from compared(view, quantity)
    overall = [
        *resources.traffic(view),
        *resources.sync_shares(view),
        *resources.variance(view),
        *resources.about_links_of_cells(view),
        *resources.wire(view),
    ]
    if overall:
        yield heading(3, "headings.network_overall")
        yield Items(tuple(overall))
