"""`python -m benchmarks.emulation.boards`: how well emulated boards are kept, by model.

Each row is a session of the suites with `--emulate`: what its ranks' computing took a token against
what reading these bytes takes on the board. On a quiet machine it says what that can pretend to be.
"""

from __future__ import annotations

import argparse

from benchmarks.sessions.suites import suite_cells
from benchmarks.table import load_line, markdown_head, markdown_row
from pytest_dllama.record.cell import CellRecord

HEAD = ("boards", "model", "MB a token", "set ms", "took ms", "off", "TPOT ms", "verdict", "why")
BOARDS = ("pi4x1-1gbe", "pi4x2-1gbe", "pi4x4-1gbe", "pi5x1-1gbe", "pi5x2-1gbe", "pi5x4-1gbe")
MODELS = ("tiny", "synthetic:llama-160m")


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulation.boards", description=__doc__
    )
    parser.add_argument("--boards", nargs="+", default=BOARDS, metavar="BOARDxNODES-LINK")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=32, metavar="N")
    options = parser.parse_args()
    asked = "--repeats", str(options.repeats), "--steps", str(options.steps)
    print(markdown_head(HEAD))
    for boards in options.boards:
        for model in options.models:
            cell = suite_cells("--emulate", boards, "--models", model, *asked)[0]
            print(markdown_row(row(boards, cell)), flush=True)
    print(f"\n{load_line()}")


def row(boards: str, cell: CellRecord) -> tuple[str, ...]:
    """The rank that is off the most, and why the cell is INVALID if it is."""
    verdict = cell.verdict.status if cell.verdict else "ERROR"
    if not cell.computing:
        return (boards, cell.model, *5 * ("-",), verdict, cell.error or "-")
    worst = max(cell.computing, key=lambda one: abs(one.ms / one.set_ms - 1))
    tpot = cell.metrics.get("tpot_ms")
    kinds = dict.fromkeys(fault.kind for fault in cell.verdict.faults) if cell.verdict else {}
    return (
        *(boards, cell.model, f"{worst.read_bytes / 1e6:.2f}"),
        *(f"{worst.set_ms:.3f}", f"{worst.ms:.3f}", f"{worst.ms / worst.set_ms - 1:+.1%}"),
        *(f"{tpot.value:.2f}" if tpot else "-", verdict, ", ".join(kinds) or "-"),
    )


if __name__ == "__main__":
    main()
