"""Energy, as tables: of cells, and of the machines of cells that have several."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.energy import MachineEnergy
from pytest_dllama.report.figures.view import RunView, counts, name_of
from pytest_dllama.report.tables.columns import NOT_COUNTED, Column, Entry, Nodes, Table
from pytest_dllama.report.text.numbers import MISSING, decimals_for, plain


def energy_table(view: RunView) -> Table | None:
    """Every cell that was asked for its energy; None if none has any."""
    cells = [cell for cell in view.ordered() if cell.energy is not None]
    if not any("request_j" in cell.metrics for cell in cells):
        return None
    keys = ("nodes", "j_per_token", "j_above_idle", "request_j", "mean_w", "idle_w", "per_w")
    columns = (Column("model", numeric=False), *(Column(key) for key in keys))
    return Table(columns, tuple(map(_row, cells)))


def machines_table(view: RunView) -> Table | None:
    """Each machine's own part, of cells on several; None where no cell has several."""
    cells = [cell for cell in view.ordered() if cell.energy and len(cell.energy.machines) > 1]
    if not cells:
        return None
    columns = (
        *(Column("model", numeric=False), Column("nodes"), Column("host", numeric=False)),
        *(Column(key) for key in ("j_per_token", "request_j", "mean_w")),
    )
    here = view.run.environment.hostname
    rows = [_machine_row(c, m, here) for c in cells if c.energy for m in c.energy.machines]
    return Table(columns, tuple(rows))


def _row(cell: CellRecord) -> tuple[Entry, ...]:
    energy = cell.energy
    assert energy is not None
    mark = "" if counts(cell) else f" {NOT_COUNTED}"
    figures = {name: found.value for name, found in cell.metrics.items()}
    whole_j, above_j = figures.get("j_per_token"), energy.j_per_token_above_idle
    own = (
        *(_shown(whole_j), _shown(above_j, like=whole_j), _shown(figures.get("request_j"))),
        *map(_shown, (energy.mean_w, energy.idle_w, figures.get("tokens_per_s_per_w"))),
    )
    return (name_of(cell), Nodes(cell.nodes), *(f"{text}{mark}" for text in own))


def _machine_row(cell: CellRecord, machine: MachineEnergy, here: str) -> tuple[Entry, ...]:
    hosts = [here if host == "this machine" else host for host in machine.hosts]
    own = (machine.j_per_token, machine.request_j, machine.mean_w)
    return (name_of(cell), Nodes(cell.nodes), ", ".join(hosts), *map(_shown, own))


def _shown(value: float | None, *, like: float | None = None) -> str:
    """With decimals that suit it, or the value that it is a part of.

    >>> _shown(0.01234), _shown(11.5), _shown(None), _shown(-0.0000004, like=0.0123)
    ('0.012', '11.50', '-', '0.000')
    """
    if value is None:
        return MISSING
    decimals = decimals_for(value if like is None else like, 2)
    return plain(round(value, decimals) + 0.0, decimals)
