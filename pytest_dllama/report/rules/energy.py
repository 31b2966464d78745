"""What is said of energy: how it was told, where it is unknown, which node count needs least."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.report.figures.view import RunView, counts, name_of
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.energy import (
    CountersLeaveOut,
    EnergyUnknownIn,
    LeastEnergy,
    PowerRead,
    PowerUnread,
    RailsLeaveOut,
)


def about_energy(view: RunView) -> list[Sentence]:
    """All statements, the finding first."""
    said: list[Sentence] = []
    for model in view.models:
        said += _least(view, model)
    sources = set()
    for power in view.run.power:
        if power.source is None:
            said.append(PowerUnread(power.hosts, power.why_not or ""))
            continue
        sources.add(power.source)
        detail = power.detail or ""
        said.append(PowerRead(power.hosts, power.source, detail, power.idle_w, power.idle_s))
    told = {power.why_not for power in view.run.power}
    for cell in view.ordered():
        why = _why(cell)
        if why is not None and why not in told:
            said.append(EnergyUnknownIn(name_of(cell), cell.nodes, why))
    if "pmic" in sources:
        said.append(RailsLeaveOut())
    if "rapl" in sources:
        said.append(CountersLeaveOut())
    return said


def _least(view: RunView, model: str) -> list[Sentence]:
    """Between the thriftiest and the thirstiest node count, where their ranges do not overlap."""
    cells = [view.cell(model, nodes) for nodes in view.node_counts]
    known = [c for c in cells if c is not None and counts(c) and "j_per_token" in c.metrics]
    if len(known) < 2:
        return []
    known.sort(key=lambda cell: cell.metrics["j_per_token"].value)
    least, most = known[0], known[-1]
    low, high = least.metrics["j_per_token"], most.metrics["j_per_token"]
    if low.value <= 0 or low.maximum >= high.minimum:
        return []
    return [LeastEnergy(model, least.nodes, low.value, most.nodes, high.value / low.value)]


def _why(cell: CellRecord) -> str | None:
    """Why a cell that was asked for its energy has none a token."""
    if cell.energy is None or "j_per_token" in cell.metrics:
        return None
    reasons = [m.why_not for m in cell.energy.machines if m.why_not and m.request_j is None]
    reasons += [m.why_not for m in cell.energy.machines if m.why_not]
    return reasons[0] if reasons else None
