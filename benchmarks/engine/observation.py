"""`python -m benchmarks.engine.observation`: what observing costs, by the judge of users' changes.

Base is the engine with `--spans off`: no sums, no histograms of links, no kernel counters. New is
the engine as it is; with `--what trace`, base is that and new keeps raw spans besides; with `--what
cores`, base leaves ranks to the system (`--cores any`) and new keeps each on its own. Steady TPOT
may become 1 % longer. PASS says that it surely does not, REGRESSED that it surely does. Pairs are
cheap and the limit is narrow, so that many are taken; let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sessions.defaults import suite_config
from benchmarks.sessions.pairs import Way, compare_ways
from benchmarks.sessions.usage import usage_errors
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.report.terminal.verdict import effect

METRIC, ALLOWED = "steady_tpot_ms", 0.01  # what observing adds, it adds to every token
LOOKS = (20, 40, 80, 120)


@dataclass(frozen=True, slots=True)
class Observed:
    """Two ways to run the engine: its options of each side, and what they are called."""

    name: str
    base: tuple[tuple[str, str], ...]
    new: tuple[tuple[str, str], ...]
    without: str


WHAT = {
    "spans": Observed("spans", (("spans", "off"),), (), "spans off"),
    "trace": Observed("raw spans", (), (("trace", "-"),), "raw spans off"),
    "cores": Observed("cores of their own", (("cores", "any"),), (), "any cores"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Take pairs and print a line a cell; 1 if spans surely cost more than is allowed."""
    parser = _parser()
    options = parser.parse_args(argv)
    with usage_errors(parser), tempfile.TemporaryDirectory() as folder:
        what = WHAT[options.what]
        asked = options.models, options.nodes, options.steps, options.looks
        cells = compare(*asked, Path(folder), what)
    for cell in cells:
        print(line(cell, what))
    return int(any(cell.status not in ("PASS", "IMPROVED", "INCONCLUSIVE") for cell in cells))


def compare(
    models: Sequence[str],
    nodes: Sequence[int],
    steps: int,
    looks: Sequence[int],
    folder: Path,
    what: Observed = WHAT["spans"],
) -> tuple[CellVerdict, ...]:
    """The verdict of each model on each node count; logs and noise stay in `folder`."""
    config = suite_config(models, nodes, steps, folder)
    ways = Way(what.without, what.base), Way(f"{what.name} on", what.new)
    return compare_ways(ways, config, LocalHosts(), looks, {METRIC: ALLOWED}, folder)


def line(cell: CellVerdict, what: Observed = WHAT["spans"]) -> str:
    """A cell's verdict in a line."""
    if not cell.metrics:
        return f"{cell.id}: {cell.status}: {'; '.join(cell.reasons)}"
    (tpot,) = cell.metrics
    means = {
        "PASS": f"{what.name} cost less than {ALLOWED:.0%}",
        "IMPROVED": f"{what.name} cost nothing that could be seen",
        "REGRESSED": f"{what.name} cost more than {ALLOWED:.0%}",
    }
    said = means.get(tpot.status, f"{tpot.pairs_to_decide or 'too many'} pairs would decide")
    return (
        f"{cell.id}: steady TPOT {tpot.base or 0:.3f} ms without {what.name}, {effect(tpot)} with, "
        f"{tpot.pairs} pairs, one varies by {tpot.pair_sd or 0:.1%}: {said}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine.observation", description=__doc__
    )
    parser.add_argument(
        "--what", choices=tuple(WHAT), default="spans", help="what is observed (default: spans)"
    )
    parser.add_argument("--models", nargs="+", default=["tiny", "synthetic:llama-160m"])
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--steps", type=int, default=128, metavar="N", help="(default: 128)")
    parser.add_argument(
        "--looks", nargs="+", type=int, default=LOOKS, metavar="N",
        help="after how many pairs to judge (default: 20 40 80 120)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
