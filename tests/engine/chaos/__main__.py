"""Random faults on links and ranks: `python -m tests.engine.chaos --faults 200 --seed 7`.

Prints a line for each fault and a table of what came of them; exits with 1 if any was not met
within the deadline, was blamed on another rank, spoilt a survivor or left a process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

from tests.engine.chaos.cluster import LITTLE_S, ChaosCluster
from tests.engine.chaos.faults import TIMEOUT_S, plans

_PHASES = ("handshake", "set-up", "loading", "forward")


def main() -> int:
    """Run; returns the exit code."""
    options = _options()
    print(f"{options.faults} faults, seed {options.seed}, --timeout {TIMEOUT_S:g}", flush=True)
    tally: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        cluster = ChaosCluster(Path(folder), emulated=options.emulated)
        try:
            cluster.calibrate()
            drawn = list(islice(plans(options.seed, cluster.counts), options.faults))
            for number, plan in enumerate(drawn, start=1):
                if number < options.first:
                    continue
                word, said = "FAIL", ""
                try:
                    outcome = cluster.put(plan)
                    cluster.serve()
                    word, said = outcome.word, f"{outcome.ended_s:5.2f} s  {outcome.message[:100]}"
                    if plan.kind not in ("late",) and outcome.ended_s > TIMEOUT_S + LITTLE_S:
                        word = "LATE"
                except AssertionError as error:
                    said = str(error)
                tally[plan.kind, plan.phase, word] += 1
                print(f"{number:4} {word:7} {plan}  {said}", flush=True)
        finally:
            cluster.close()
    print("\n".join(table(tally)))
    return 1 if any(word in ("FAIL", "LATE") for *_, word in tally) else 0


def table(tally: Counter[tuple[str, str, str]]) -> list[str]:
    """Outcomes by kind and phase, in Markdown.

    >>> table(Counter({("cut", "loading", "named"): 2, ("cut", "loading", "done"): 1}))[2]
    '| cut | - | - | 2 named, 1 done | - |'
    """
    kinds = sorted({kind for kind, *_ in tally})
    lines = [f"| | {' | '.join(_PHASES)} |", f"|---|{'---|' * len(_PHASES)}"]
    for kind in kinds:
        entries = []
        for phase in _PHASES:
            words = [
                f"{n} {word}" for (k, p, word), n in tally.most_common() if (k, p) == (kind, phase)
            ]
            entries.append(", ".join(words) or "-")
        lines.append(f"| {kind} | {' | '.join(entries)} |")
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="pass over those before")
    parser.add_argument("--emulated", action="store_true", help="on emulated 1 GbE links")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
