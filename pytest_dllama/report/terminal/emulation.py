"""How well the links and boards of a run were emulated."""

from __future__ import annotations

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.emulation import CellLinks
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
    return [
        f"EMULATED {what} ({links}): all nodes are processes of this machine",
        *(_computed(cell) for cell in run.cells if cell.computing),
        *(_kept(cell.id, cell.links) for cell in run.cells if cell.links is not None),
    ]


def _kept(cell_id: str, kept: CellLinks) -> str:
    """How well the links of a cell were kept."""
    found = kept.links
    delays, given = [link.median_us for link in found], [link.set_us for link in found]
    worst = plain(max((link.p99_us for link in found), default=None), 0)
    rates = [link.mbps for link in found if link.mbps is not None]
    told = [
        f"EMULATED links of {cell_id}: one-way delay {between(delays, 0)} us (median, set "
        f"{between(given, 0)}; p99 {worst}){f', {between(rates, 1)} Mbit/s' if rates else ''}"
    ]
    if (busy_us := kept.busy_median_error_us) is not None:
        p99_us = kept.busy_p99_error_us
        p99 = "" if p99_us is None else f" (p99 {signed(p99_us, 0)})"
        told.append(f"off by {signed(busy_us, 0)} us while requests ran{p99}")
    if kept.n_messages:
        told.append(f"{kept.n_late or 0} of {kept.n_messages} messages late")
    return "; ".join(told)


def _computed(cell: CellRecord) -> str:
    """How well the boards of a cell were kept."""
    took, given = ([one.ms for one in cell.computing], [one.set_ms for one in cell.computing])
    return (
        f"EMULATED boards of {cell.id}: computing {between(took, 3)} ms a token (set "
        f"{between(given, 3)}; off by {off_set(cell.computing)})"
    )
