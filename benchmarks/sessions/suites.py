"""One session of the suites in a process of its own, and the cells that its run file tells of."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord

SUITES = Path(__file__).parents[2] / "suites"


def suite_cells(*options: str, timeout_s: float | None = None) -> tuple[CellRecord, ...]:
    """Run the suite of TPOT with these options; cells that are INVALID are among those returned.

    Raises:
        SystemExit: nothing was measured; with all that pytest said.
        TimeoutExpired: it took longer, and was ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"),
            *(str(SUITES), "-k", "tpot", *options),
            *("--history", "off", "--report", folder, "--report-format", "none"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        run_file = Path(folder) / "run.json"
        if not run_file.exists():
            said = f"{done.stdout}{done.stderr}"
            raise SystemExit(f"{' '.join(options)}: nothing was measured:\n{said}")
        return read_run(run_file).cells
