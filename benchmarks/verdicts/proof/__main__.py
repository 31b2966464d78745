"""`python -m benchmarks.verdicts.proof`: measure how often verdicts are right, and say it.

Takes real pairs with the code that judges users' changes. Stop it whenever you like: every pair is
kept as soon as it is measured, and the next start goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import page
from benchmarks.verdicts.proof.findings import causes
from benchmarks.verdicts.proof.findings.injected import LEVELS, condition_of, injected
from benchmarks.verdicts.proof.findings.promises import promises
from benchmarks.verdicts.proof.findings.rivals import RivalFailed
from benchmarks.verdicts.proof.findings.side_by_side import side_by_side
from benchmarks.verdicts.proof.findings.tables import Findings, document
from benchmarks.verdicts.proof.journal import AA, CALIBRATION, Condition, Journal
from benchmarks.verdicts.proof.taking.campaign import Campaign, NoPairs, Wish, missing
from benchmarks.verdicts.proof.taking.outlook import to_go
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.base import Progress
from pytest_dllama.lab.progress import LiveLine, PlainLines

STAGES = ("aa", "injected", "causes", "busy")
CELLS = "tiny-2,tiny-4,llama-160m-2,llama-160m-4"
CAUSES_CELLS = "llama-160m-2"
INJECTED_CELLS = "tiny-4,llama-160m-2"
JOURNAL = "pairs.jsonl"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.verdicts.proof", description=__doc__)
    found.add_argument(
        "stages", nargs="*", metavar="STAGE",
        help=f"what to measure, of {', '.join(STAGES)} (default: all); busy is aa while another "
        "process computes on one core",
    )  # fmt: skip
    folder = "folder of the pairs (default: verdict-proof)"
    found.add_argument(
        "--data", type=Path, default=Path("verdict-proof"), metavar="DIR", help=folder
    )
    found.add_argument("--cells", default=CELLS, help=f"of A/A (default: {CELLS})")
    for flag, cells, text in (
        ("--injected-cells", INJECTED_CELLS, "of injected slowness"),
        ("--causes-cells", CAUSES_CELLS, "of injected causes"),
    ):
        found.add_argument(flag, default=cells, help=f"{text} (default: {cells})")
    for flag, default, text in (
        ("--pairs", 270, "A/A pairs of each cell"),
        ("--injected", 60, "pairs of a cell and level of injected slowness"),
        ("--causes", 60, "pairs of a cell and cause"),
        ("--busy-pairs", 90, "A/A pairs of each cell beside a busy process"),
        ("--calibration", 60, "pairs of each cell for the prior"),
        ("--steps", 64, "positions of a request"),
    ):
        found.add_argument(
            flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    quick = "a few pairs of tiny on 2 nodes: whether all of it works"
    found.add_argument("--quick", action="store_true", help=quick)
    found.add_argument("--tables", action="store_true", help="measure nothing, print the tables")
    found.add_argument(
        "--write", type=Path, metavar="FILE", help="put the tables into this document"
    )
    section = "of the document's sections for them (default: %(default)s)"
    found.add_argument("--section", default="quiet", metavar="NAME", help=section)
    return found


def wishes(options: argparse.Namespace, journal: Journal) -> Iterator[Wish]:
    """What is to be measured, in this order; asked for one by one, as each one's pairs are in."""
    stages = options.stages or STAGES
    cells = tuple(options.cells.split(","))
    if options.calibration:
        yield Wish(Condition(stage=CALIBRATION), cells, options.calibration)
    if "aa" in stages:
        yield Wish(Condition(stage=AA), cells, options.pairs)
    if "injected" in stages:
        slowed = tuple(options.injected_cells.split(","))
        for level in LEVELS[-1:] if options.quick else LEVELS:
            yield Wish(condition_of(level), slowed, options.injected)
    if "causes" in stages:
        yield from _causes(options, journal)
    if "busy" in stages:
        yield Wish(Condition(stage=AA, is_busy=True), cells, options.busy_pairs)


def _causes(options: argparse.Namespace, journal: Journal) -> Iterator[Wish]:
    cells = tuple(options.causes_cells.split(","))
    for cause in causes.CAUSES[:1] if options.quick else causes.CAUSES:
        yield Wish(causes.condition_of(cause), cells, options.causes)
    for cell, part in () if options.quick else product(cells, causes.SMALL_PARTS):
        known = causes.small_condition(journal, cell, part)
        # Of a cell that has told no parts yet: as it will be, once the causes before it are in.
        small = known or Condition(stage=causes.SMALL, inject=f"{part}=?")
        yield Wish(small, (cell,), options.causes * 5 // 3)


def main() -> int:
    """Measure what is missing, then print the tables."""
    options = parser().parse_args()
    unknown = sorted(set(options.stages) - set(STAGES))
    if unknown:
        parser().error(f"no stage {', '.join(unknown)}: there is {', '.join(STAGES)}")
    if options.quick:
        options.cells, options.pairs, options.busy_pairs = "tiny-2", 3, 3
        options.calibration, options.steps = 0, 32
        options.injected_cells, options.injected = "tiny-2", 3
        options.causes_cells, options.causes = "tiny-2", 3
    with _folder(options) as folder:
        try:
            _prove(options, folder)
        except (ConfigError, NoPairs, RivalFailed, ValueError) as error:
            print(f"{parser().prog}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\nstopped; every pair is in {folder / JOURNAL}", file=sys.stderr)
            return 130
    return 0


def _folder(options: argparse.Namespace) -> AbstractContextManager[Path]:
    if options.quick and options.data is None:
        return _temporary()
    return nullcontext(options.data or Path("verdict-proof"))


@contextmanager
def _temporary() -> Iterator[Path]:
    with TemporaryDirectory(prefix="verdict-proof-") as name:
        yield Path(name)


def _prove(options: argparse.Namespace, folder: Path) -> None:
    journal = Journal(folder / JOURNAL)
    if not options.tables:
        given = ",".join((options.cells, options.injected_cells, options.causes_cells))
        cells = list(dict.fromkeys(given.split(",")))
        progress = _progress()
        campaign = Campaign(journal, cells, options.steps, folder, progress)
        for wish in wishes(options, journal):
            left = to_go(wishes(options, journal), journal)
            if left and missing(wish, journal):
                progress.settle(left)
            campaign.fill(wish)
    findings = Findings(journal)
    more = [*injected(findings), *causes.causes(findings)]
    more += side_by_side(findings, folder / "rivals")
    text = document(findings, promises(findings), more)
    print(text)
    if options.write:
        page.write(options.write, f"verdict-proof {options.section}", text)


def _progress() -> Progress:
    if sys.stderr.isatty():
        return LiveLine(sys.stderr)
    return PlainLines(lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
