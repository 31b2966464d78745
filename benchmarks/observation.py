"""`python -m benchmarks.observation`: what counting spans costs, by the judge of users' changes.

Base is the engine with `--spans off`, new the engine as it is; TPOT may become 1 % longer. PASS
says that it surely does not, REGRESSED that it surely does. Pairs are cheap and the limit is
narrow, so that many are taken; let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite_defaults import suite_config
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.history.priors import NoisePriors
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.duet import Duet, Rules, Side
from pytest_dllama.lab.progress import PlainLines
from pytest_dllama.models.under_test import open_model
from pytest_dllama.record.verdict import CellVerdict
from pytest_dllama.report.pages.verdict import effect
from pytest_dllama.stats.looks import Plan

ALLOWED = 0.01  # of TPOT
LOOKS = (20, 40, 80, 120)


def main(argv: Sequence[str] | None = None) -> int:
    """Take pairs and print a line a cell; 1 if spans surely cost more than is allowed."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        cells = compare(options.models, options.nodes, options.steps, options.looks, Path(folder))
    for cell in cells:
        print(line(cell))
    return int(any(cell.status not in ("PASS", "IMPROVED", "INCONCLUSIVE") for cell in cells))


def compare(
    models: Sequence[str], nodes: Sequence[int], steps: int, looks: Sequence[int], folder: Path
) -> tuple[CellVerdict, ...]:
    """The verdict of each model on each node count; logs and noise stay in `folder`."""
    config = suite_config(models, nodes, steps, folder)
    progress = PlainLines(lambda text: print(text, flush=True))
    with progress.running():
        opened = {s.name: open_model(s, progress.transfer) for s in config.models}
    hosts = LocalHosts()
    sides = (
        Side("base", "spans off", EmbeddedBackend((("spans", "off"),)), config, hosts),
        Side("new", "spans on", EmbeddedBackend(), config, hosts),
    )
    rules = Rules(
        Plan(tuple(looks)),
        NoisePriors(folder / "history", "observation"),
        random.SystemRandom().randrange(10**6),
        lambda key: {"tpot_ms": ALLOWED},
    )
    keys = [CellKey(name, n) for name in opened for n in nodes]
    duet = Duet(sides, opened, keys, rules, folder / "logs", progress)
    with progress.running():
        return duet.run()


def line(cell: CellVerdict) -> str:
    """A cell's verdict in a line."""
    if not cell.metrics:
        return f"{cell.id}: {cell.status}: {'; '.join(cell.reasons)}"
    (tpot,) = cell.metrics
    means = {
        "PASS": f"spans cost less than {ALLOWED:.0%}",
        "IMPROVED": "spans cost nothing that could be seen",
        "REGRESSED": f"spans cost more than {ALLOWED:.0%}",
    }
    said = means.get(tpot.status, f"about {tpot.pairs_to_decide or 'too many'} pairs would decide")
    return (
        f"{cell.id}: TPOT {tpot.base or 0:.3f} ms without spans, {effect(tpot)} with them, "
        f"{tpot.pairs} pairs, one varies by {tpot.pair_sd or 0:.1%}: {said}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observation", description=__doc__)
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
