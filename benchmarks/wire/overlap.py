"""`python -m benchmarks.wire.overlap`: batches in halves against whole ones, on any links.

Base is the engine with `--overlap off`, new with `--overlap on` (or `auto`); adjacent pairs of
sessions, judged as users' changes are. The time to the first token is what it is about; that of
later tokens must not change.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.sessions.defaults import suite_config
from benchmarks.sessions.pairs import Way, compare_ways
from benchmarks.sessions.usage import usage_errors
from benchmarks.table import load_line, markdown_table
from pytest_dllama.emulation.topology import uniform
from pytest_dllama.hosts.links.emulated import EmulatedHosts
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.record.cell import Workload
from pytest_dllama.record.verdict import CellVerdict, MetricVerdict
from pytest_dllama.report.terminal.verdict import effect

METRICS = {"ttft_s": 0.02, "steady_tpot_ms": 0.02}  # what may be lost without being one
NO_LINK = "none"
HEAD = ("link", "cell", "TTFT ms whole", "in halves", "TPOT ms whole", "in halves", "pairs", "said")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared, on which links."""

    links: tuple[str, ...]
    models: tuple[str, ...]
    nodes: tuple[int, ...]
    prompt_tokens: int
    output_tokens: int
    looks: tuple[int, ...]
    nthreads: int = 1
    new: str = "on"


def main(argv: Sequence[str] | None = None) -> int:
    """Take pairs and print a row a cell; 1 if halves surely cost time on any link."""
    parser = _parser()
    options = parser.parse_args(argv)
    asked = Asked(
        links=tuple(options.links.split(",")),
        models=tuple(options.models.split(",")),
        nodes=tuple(int(n) for n in options.nodes.split(",")),
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        looks=tuple(options.looks),
        nthreads=options.nthreads,
        new=options.new,
    )
    with usage_errors(parser), tempfile.TemporaryDirectory() as folder:
        found = [(link, compare(asked, link, Path(folder) / link)) for link in asked.links]
    print(markdown_table(HEAD, (row(link, cell) for link, cells in found for cell in cells)))
    print(f"\n{load_line()}")
    return int(any(cell.status in ("ERROR", "REGRESSED") for _, cells in found for cell in cells))


def compare(asked: Asked, link: str, folder: Path) -> tuple[CellVerdict, ...]:
    """The verdict of every cell on one kind of link; logs stay in `folder`."""
    topology = None if link == NO_LINK else uniform(link)
    steps = asked.prompt_tokens + asked.output_tokens
    config = suite_config(asked.models, asked.nodes, steps, folder)
    config = replace(config, topology=topology, nthreads=asked.nthreads)
    hosts = LocalHosts() if topology is None else EmulatedHosts(topology)
    ways = Way("whole", (("overlap", "off"),)), Way("in halves", (("overlap", asked.new),))
    work = Workload(prompt_tokens=asked.prompt_tokens, output_tokens=asked.output_tokens)
    return compare_ways(ways, config, hosts, asked.looks, METRICS, folder, work)


def row(link: str, cell: CellVerdict) -> tuple[str, ...]:
    """A cell on one kind of link."""
    by_name = {verdict.metric: verdict for verdict in cell.metrics}
    ttft, tpot = by_name.get("ttft_s"), by_name.get("steady_tpot_ms")
    pairs = str(max((verdict.pairs for verdict in cell.metrics), default=0))
    said = " ".join((str(cell.status), *cell.reasons))
    return (link, cell.id, *_both(ttft, 1e3), *_both(tpot, 1.0), pairs, said)


def _both(verdict: MetricVerdict | None, factor: float) -> tuple[str, str]:
    """Base, and the change with its interval; plus is slower."""
    if verdict is None or verdict.base is None:
        return "-", "-"
    return f"{factor * verdict.base:.2f}", effect(verdict)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire.overlap", description=__doc__)
    parser.add_argument(
        "--links", default="1gbe,100mbe", metavar="LINK,..",
        help=f"as of --link, or {NO_LINK}: loopback (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--new", choices=("on", "auto"), default="on", help="--overlap of the new side"
    )
    parser.add_argument("--nodes", default="2,4", metavar="N,..")
    parser.add_argument("--models", default="synthetic:llama-160m", metavar="MODEL,..")
    parser.add_argument("--prompt-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--output-tokens", type=int, default=32, metavar="N")
    parser.add_argument("--nthreads", type=int, default=1, metavar="N")
    parser.add_argument(
        "--looks", nargs="+", type=int, default=(5, 10, 20), metavar="N",
        help="after how many pairs to judge (default: 5 10 20)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
