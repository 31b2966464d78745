"""Random faults on links and ranks: `python -m tests.engine.chaos --faults 200 --seed 7`.

Prints a line for each fault and a table of what came of them, which `--write` puts into a document.
Exits with 1 if any was not met within the deadline, was blamed on another rank, spoilt a survivor
or left a process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from benchmarks import page
from tests.engine.chaos.cluster import LITTLE_S, ChaosCluster
from tests.engine.chaos.faults import TIMEOUT_S, Plan, plans

_PHASES = ("handshake", "set-up", "loading", "forward")
_WRONG = ("FAIL", "LATE")
Tally: TypeAlias = Counter[tuple[str, str, str]]  # kind, phase, outcome


def main() -> int:
    """Run; returns the exit code."""
    options = _options()
    name = "chaos, emulated links" if options.emulated else "chaos"
    if options.write is not None:
        page.written(options.write.read_text("utf-8"), name)  # refused before anything is put
    print(f"{options.faults} faults, seed {options.seed}, --timeout {TIMEOUT_S:g}", flush=True)
    begun_s = time.monotonic()
    tally = _put(options)
    minutes = (time.monotonic() - begun_s) / 60
    caption = (
        f"{date.today()}: {tally.total()} of {options.faults} faults, seed {options.seed}, in "
        f"{minutes:.0f} min."
    )
    found = "\n".join([caption, "", *table(tally)])
    print(found)
    if options.write is not None:
        page.write(options.write, name, found)
    return 1 if any(word in _WRONG for *_, word in tally) else 0


def _put(options: argparse.Namespace) -> Tally:
    """One fault after the other, until all are put or the time is over."""
    tally: Tally = Counter()
    until_s = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        cluster = ChaosCluster(Path(folder), emulated=options.emulated)
        try:
            cluster.calibrate()
            drawn = islice(plans(options.seed, cluster.counts), options.faults)
            for number, plan in enumerate(drawn, start=1):
                if number < options.first:
                    continue
                if time.monotonic() > until_s:
                    break
                word, said = _outcome(cluster, plan)
                tally[plan.kind, plan.phase, word] += 1
                print(f"{number:4} {word:7} {plan}  {said}", flush=True)
        finally:
            cluster.close()
    return tally


def _outcome(cluster: ChaosCluster, plan: Plan) -> tuple[str, str]:
    """One word, and what was said."""
    try:
        outcome = cluster.put(plan)
        cluster.serve()
    except AssertionError as error:
        return "FAIL", str(error)
    is_late = plan.kind != "late" and outcome.ended_s > TIMEOUT_S + LITTLE_S
    said = f"{outcome.ended_s:5.2f} s  {outcome.message[:100]}"
    return "LATE" if is_late else outcome.word, said


def table(tally: Tally) -> list[str]:
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
    parser.add_argument(
        "--minutes", type=float, default=60, metavar="N",
        help="begin no fault after so long (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into it too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
