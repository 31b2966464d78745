"""How well the links and boards of a run were emulated."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.tables.emulation import between, off_set
from pytest_dllama.report.text.numbers import plain, signed


def emulation_lines(run: RunRecord) -> list[str]:
    """What the links were set to, then for each cell how well they were kept."""
    if (emulation := run.emulation) is None:
        return []
    links = f"{emulation.text}: {emulation.network}"
    if emulation.text == emulation.network:
        links = emulation.text
    what = "boards" if emulation.board else "links"
    lines = [f"EMULATED {what} ({links}): all nodes are processes of this machine"]
    lines += [_computed(cell) for cell in run.cells if cell.computing]
    for cell in run.cells:
        if cell.links is None:
            continue
        found = cell.links.links
        medians, given = [link.median_us for link in found], [link.set_us for link in found]
        worst = plain(max((link.p99_us for link in found), default=None), 0)
        rates = [link.mbps for link in found if link.mbps is not None]
        carried = f", {between(rates, 1)} Mbit/s" if rates else ""
        busy = cell.links.busy_median_error_us
        beside = "" if busy is None else f"; off by {signed(busy, 0)} us while requests ran"
        if busy is not None and cell.links.busy_p99_error_us is not None:
            beside += f" (p99 {signed(cell.links.busy_p99_error_us, 0)})"
        if cell.links.n_messages:
            beside += f"; {cell.links.n_late or 0} of {cell.links.n_messages} messages late"
        lines.append(
            f"EMULATED links of {cell.id}: one-way delay {between(medians, 0)} us (median, set "
            f"{between(given, 0)}; p99 {worst}){carried}{beside}"
        )
    return lines


def _computed(cell: CellRecord) -> str:
    """How well the boards of a cell were kept."""
    took, given = ([one.ms for one in cell.computing], [one.set_ms for one in cell.computing])
    return (
        f"EMULATED boards of {cell.id}: computing {between(took, 3)} ms a token (set "
        f"{between(given, 3)}; off by {off_set(cell.computing)})"
    )
