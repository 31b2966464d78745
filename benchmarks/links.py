"""`python -m benchmarks.links`: how well emulated links are kept beside real clusters, by preset.

Each cell is a session of the suites with `--link`; what its probes found is read from the run file.
On a quiet machine this table says for how many nodes a core a preset may be called certified.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_dllama.emulation.spec import PRESETS
from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord

HEAD = ("link", "nodes", "delay set us", "median us", "p99 us", "rate set", "rate", "busy us",
        "busy p99 us", "late", "verdict")  # fmt: skip


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.links", description=__doc__)
    parser.add_argument("--links", nargs="+", default=[*PRESETS], metavar="LINK")
    parser.add_argument("--nodes", default="2,4,8", metavar="N,N,..")
    parser.add_argument("--model", default="tiny", metavar="MODEL")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--steps", type=int, default=64, metavar="N")
    options = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for link in options.links:
        for cell in _cells(link, options):
            print(f"| {' | '.join(_row(link, cell))} |", flush=True)
    print(f"\n{os.cpu_count()} cores; load average at the end: {os.getloadavg()[0]:.1f}.")


def _cells(link: str, options: argparse.Namespace) -> tuple[CellRecord, ...]:
    """The cells of one session of the suites; a cell that is INVALID is one of them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"),
            *(str(Path(__file__).parents[1] / "suites"), "-k", "tpot", "--link", link),
            *("--nodes", options.nodes, "--models", options.model, "--history", "off"),
            *("--repeats", str(options.repeats), "--steps", str(options.steps)),
            *("--report", folder, "--report-format", "md"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        run_file = Path(folder) / "run.json"
        if not run_file.exists():
            raise SystemExit(f"{link}: nothing was measured:\n{done.stdout}{done.stderr}")
        return read_run(run_file).cells


def _row(link: str, cell: CellRecord) -> tuple[str, ...]:
    verdict = cell.verdict.status if cell.verdict else "-"
    if cell.links is None:
        return (link, str(cell.nodes), *8 * ("-",), cell.error or verdict)
    found, busy = cell.links.links, cell.links
    worst = max(found, key=lambda way: abs(way.median_us - way.set_us))
    rates = [way for way in found if way.mbps is not None and way.set_mbps]
    rate = max(rates, key=lambda way: abs((way.mbps or 0) / (way.set_mbps or 1) - 1), default=None)
    return (
        *(link, str(cell.nodes), f"{worst.set_us:.0f}", f"{worst.median_us:.0f}"),
        f"{max(way.p99_us for way in found):.0f}",
        *((f"{rate.set_mbps:.1f}", f"{rate.mbps:.1f}") if rate else ("-", "-")),
        _signed(busy.busy_median_error_us),
        _signed(busy.busy_p99_error_us),
        f"{100 * (busy.n_late or 0) / busy.n_messages:.1f} %" if busy.n_messages else "-",
        verdict,
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0f}"


if __name__ == "__main__":
    main()
