"""A against B: effects with their bounds, and what is tolerated of them."""

from __future__ import annotations

from pytest_dllama.record.verdict import PRECEDENCE, CellVerdict
from pytest_dllama.report.figures.charts import Chart, Effect, Forest, finite
from pytest_dllama.report.figures.view import RunView

NAMES = {
    "ttft_s": "TTFT",
    "tpot_ms": "TPOT",
    "steady_tpot_ms": "steady TPOT",
    "rct_s": "RCT",
}
MOST_ROWS = 30


def effects(view: RunView) -> Chart | None:
    """TPOT of every cell and whatever did not pass, worst first; the first rows if very many."""
    if view.verdict is None:
        return None
    cells = sorted(view.verdict.cells, key=lambda cell: PRECEDENCE.index(cell.status))
    rows = [effect for cell in cells for effect in _effects(cell)][:MOST_ROWS]
    if not rows:
        return None
    title = f"{view.verdict.base_label} → {view.verdict.new_side}"
    return Chart("ab", "change in % (right: slower)", "", (Forest(title, tuple(rows)),))


def _effects(cell: CellVerdict) -> list[Effect]:
    found = []
    for one in cell.metrics:
        if one.status == "PASS" and one.metric != "tpot_ms":
            continue
        ends = [finite(value) for value in (one.change, one.lower, one.upper)]
        known = [value * 100 for value in ends if value is not None]
        if len(known) == len(ends):
            label = f"{cell.id} {NAMES.get(one.metric, one.metric)}"
            change, low, high = known
            tolerance = one.tolerance * 100
            found.append(Effect(label, change, low, high, one.status, tolerance))
    return found
