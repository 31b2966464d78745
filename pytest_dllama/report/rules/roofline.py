"""The memory roofline in the report: what a token must read, and how long that alone takes."""

from __future__ import annotations

from pytest_dllama.record.hosts import MemoryRecord
from pytest_dllama.report.figures.view import RunView, name_of
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.resources import (
    MemoryMeasured,
    RooflineCached,
    RooflineUnmeasured,
)

GIGA = 1e9


def about_roofline(view: RunView) -> list[Sentence]:
    """What was measured of each machine, and why some cells have no limit."""
    said: list[Sentence] = [*map(_measured, filter(_is_known, view.run.memory))]
    cached: dict[str, list[int]] = {}
    for cell in view.ordered():
        if cell.roofline and cell.roofline.why_not == "cached":
            cached.setdefault(name_of(cell), []).append(cell.nodes)
        elif cell.roofline and cell.roofline.why_not == "unmeasured":
            said.append(RooflineUnmeasured(name_of(cell), cell.nodes, cell.roofline.detail or ""))
    said += [RooflineCached(model, tuple(counts)) for model, counts in cached.items()]
    return said


def _is_known(memory: MemoryRecord) -> bool:
    return bool(memory.bytes_per_s)


def _measured(memory: MemoryRecord) -> MemoryMeasured:
    rates = tuple((n, rate / GIGA) for n, rate in sorted(memory.bytes_per_s.items()))
    return MemoryMeasured(memory.hosts, rates, memory.cache_bytes, memory.is_disturbed)
