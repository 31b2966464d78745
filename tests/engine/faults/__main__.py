"""The whole campaign, held to the deadline: `python -m tests.engine.faults [WORDS]`.

Runs the scenarios whose name contains one of WORDS (all without), prints a line for each and exits
with 1 if any ended late, named another rank, left a process or spoilt a survivor.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.engine.faults.campaign import LITTLE_S, TIMEOUT_S, all_scenarios, run_scenario

_PATIENT_S = TIMEOUT_S + 60


def main(words: list[str]) -> int:
    """Run; returns the exit code."""
    n_failed = 0
    for scenario in all_scenarios():
        if words and not any(word in str(scenario) for word in words):
            continue
        problem, ended = "", ""
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            try:
                outcome = run_scenario(Path(folder), scenario, _PATIENT_S)
                ended = f"{outcome.ended_s:5.2f} s"
                if outcome.ended_s > TIMEOUT_S + LITTLE_S:
                    problem = f"later than {TIMEOUT_S:g} + {LITTLE_S:g} s: {outcome.message}"
            except AssertionError as error:
                problem = str(error)
        n_failed += bool(problem)
        print(f"{'FAIL' if problem else 'ok':4}  {ended:8} {scenario}  {problem}", flush=True)
    print(f"{n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
