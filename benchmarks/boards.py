"""`python -m benchmarks.boards`: how well emulated boards are kept, by board, count and model.

Each row is a session of the suites with `--emulate`: what its ranks' computing took a token against
what reading these bytes takes on the board. On a quiet machine it says what that can pretend to be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord

HEAD = ("boards", "model", "MB a token", "set ms", "took ms", "off", "TPOT ms", "verdict", "why")
BOARDS = ("pi4x1-1gbe", "pi4x2-1gbe", "pi4x4-1gbe", "pi5x1-1gbe", "pi5x2-1gbe", "pi5x4-1gbe")
MODELS = ("tiny", "synthetic:llama-160m")


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boards", description=__doc__)
    parser.add_argument("--boards", nargs="+", default=BOARDS, metavar="BOARDxNODES-LINK")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=32, metavar="N")
    options = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for boards in options.boards:
        for model in options.models:
            cell = _cell(boards, model, options.repeats, options.steps)
            print(f"| {' | '.join(row(boards, cell))} |", flush=True)
    print(f"\n{os.cpu_count()} cores; load average at the end: {os.getloadavg()[0]:.1f}.")


def _cell(boards: str, model: str, repeats: int, steps: int) -> CellRecord:
    """The cell of one session of the suites, INVALID or not."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"),
            *(str(Path(__file__).parents[1] / "suites"), "-k", "tpot", "--emulate", boards),
            *("--models", model, "--repeats", str(repeats), "--steps", str(steps)),
            *("--history", "off", "--report", folder, "--report-format", "none"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        run_file = Path(folder) / "run.json"
        if not run_file.exists():
            raise SystemExit(f"{boards}: nothing was measured:\n{done.stdout}{done.stderr}")
        return read_run(run_file).cells[0]


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
