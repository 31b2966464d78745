"""`python -m benchmarks.emulation.links`: how well emulated links are kept, by preset.

Each cell is a session of the suites with `--link`; what its probes found is read from the run file.
On a quiet machine this table says for how many nodes a core a preset may be called certified.
"""

from __future__ import annotations

import argparse

from benchmarks.sessions.rows import Case, Sessions, add_options, show
from pytest_dllama.emulation.spec import PRESETS
from pytest_dllama.record.cell import CellRecord

NAME = "emulated links"  # of the table's place in a document
HEAD = ("link", "nodes", "delay set us", "median us", "p99 us", "rate set", "rate", "busy us",
        "busy p99 us", "late", "verdict")  # fmt: skip


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulation.links", description=__doc__
    )
    parser.add_argument("--links", nargs="+", default=[*PRESETS], metavar="LINK")
    parser.add_argument("--nodes", default="2,4,8", metavar="N,N,..")
    parser.add_argument("--model", default="tiny", metavar="MODEL")
    parser.add_argument("--steps", type=int, default=32, metavar="N")
    add_options(parser)
    options = parser.parse_args()
    asked = (
        *("--models", options.model),
        *("--repeats", str(options.repeats), "--steps", str(options.steps)),
    )
    cases = [
        Case(link, ("--link", link, "--nodes", nodes, *asked))
        for link in options.links
        for nodes in options.nodes.split(",")
    ]
    show(NAME, HEAD, Sessions(cases, options.minutes), _row, options.write)


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
