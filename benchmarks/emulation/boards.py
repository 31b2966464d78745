"""`python -m benchmarks.emulation.boards`: how well emulated boards are kept, by model.

Each row is a session of the suites with `--emulate`: what its ranks' computing took a token against
what reading these bytes takes on the board. On a quiet machine it says what that can pretend to be.
"""

from __future__ import annotations

import argparse

from benchmarks.sessions.rows import Case, Sessions, add_options, show
from pytest_dllama.record.cell import CellRecord

HEAD = ("boards", "model", "MB a token", "set ms", "took ms", "off", "TPOT ms", "verdict", "why")
NAME = "emulated boards"  # of the table's place in a document
BOARDS = tuple(f"{board}-1gbe" for board in (
    "pi4x1", "pi4x2", "pi4x4", "pi4x8", "pi5x1", "pi5x2", "pi5x4",
))  # fmt: skip
MODELS = ("synthetic:llama-160m",)


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulation.boards", description=__doc__
    )
    parser.add_argument("--boards", nargs="+", default=BOARDS, metavar="BOARDxNODES-LINK")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL")
    parser.add_argument("--steps", type=int, default=32, metavar="N")
    add_options(parser)
    options = parser.parse_args()
    asked = "--repeats", str(options.repeats), "--steps", str(options.steps)
    cases = [
        Case(boards, ("--emulate", boards, "--models", model, *asked))
        for boards in options.boards
        for model in options.models
    ]
    show(NAME, HEAD, Sessions(cases, options.minutes), row, options.write)


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
