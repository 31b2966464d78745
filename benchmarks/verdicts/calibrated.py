"""`python -m benchmarks.verdicts.calibrated`: what a calibration says, as a table for a document.

Calibrates this machine into a history of its own, or shows what a history holds. Let nothing else
run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page
from benchmarks.table import markdown_table
from pytest_dllama.history.noise.calibrations import Calibration, calibrations
from pytest_dllama.history.store import RunStore
from pytest_dllama.report.lists.noise import noise_lines
from pytest_dllama.stats.noise import SHOWN_PAIRS

NAME = "calibration"  # of its place in a document
SHOWN = {"ttft_s": "TTFT", "tpot_ms": "TPOT", "steady_tpot_ms": "steady TPOT"}
HEAD = ["cell", "metric", "requests", "sd of a pair", *(f"{n} pairs find" for n in SHOWN_PAIRS)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or put it into a document."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        history = options.history or Path(folder) / "history"
        if options.history is None:
            _calibrate(options, history, Path(folder) / "report")
        text = "\n\n".join(_sections(history))
    if not text:
        print(f"{history} holds no calibration", file=sys.stderr)
        return 1
    if options.write is None:
        print(text)
    else:
        page.write(options.write, NAME, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts.calibrated", description=__doc__
    )
    parser.add_argument("--pairs", default="21", metavar="N", help="of each cell (default: 21)")
    parser.add_argument("--nodes", default="2,4", help="(default: 2,4)")
    parser.add_argument("--models", default="tiny,synthetic:llama-160m", help="(default: both)")
    parser.add_argument(
        "--history", type=Path, metavar="DIR", help="show the last calibration of each cluster here"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table into this document"
    )
    return parser


def _calibrate(options: argparse.Namespace, history: Path, report: Path) -> None:
    words = ["calibrate", options.pairs, "--nodes", options.nodes, "--models", options.models]
    words += ["--history", str(history), "--report", str(report), "-p", "no:cacheprovider"]
    command = [sys.executable, "-P", "-m", "pytest_dllama.cli", *words]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _sections(history: Path) -> list[str]:
    """The last calibration of each cluster, in sections."""
    found = []
    for cluster in sorted(path.parent for path in history.glob("*/calibrations")):
        store = RunStore(history, cluster.name)
        for calibration in calibrations(store).entries()[-1:]:
            found += [_about(store, calibration), _table(store, calibration)]
    return found


def _about(store: RunStore, calibration: Calibration) -> str:
    return (
        f"{store.fingerprint}, {calibration.created_utc[:10]}: {calibration.pairs} A/A pairs a "
        f"cell in {calibration.wall_s:.0f} s."
    )


def _table(store: RunStore, calibration: Calibration) -> str:
    rows = json.loads("\n".join(noise_lines(store, calibration, "json")))
    return markdown_table(
        [*HEAD, f"{SHOWN_PAIRS[0]} pairs cost"],
        [
            [
                row["cell"],
                SHOWN[row["metric"]],
                str(row["requests"]),
                f"{100 * row['pair_sd']:.1f} %",
                *(f"+{100 * row[f'detectable_{n}']:.1f} %" for n in SHOWN_PAIRS),
                f"{row[f'cost_{SHOWN_PAIRS[0]}_s']:.0f} s",
            ]
            for row in rows
            if row["metric"] in SHOWN
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
