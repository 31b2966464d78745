"""`python -m benchmarks.wire.auto`: what `--collective auto` picks, beside what is fastest there.

On the same workers, in turns: a root that probes, and one of each candidate by name. The time of a
token is the median over a request's decode steps. A pick is right if it takes no longer than the
fastest candidate, but for what the mesh is let keep (`choice.BETTER` of an exchange's time).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.sessions.processes import request_events, start_worker, steady_ms
from benchmarks.sessions.usage import usage_errors
from benchmarks.table import load_line, markdown_table, spread
from dllama_engine.sharding.asked import CollectiveOption
from dllama_engine.sharding.collective import Collective, Pick
from pytest_dllama.config.values import parse_models
from pytest_dllama.models.model_files import open_model

CANDIDATES = (Collective.MESH, Collective.DOUBLING, Collective.GATHER_BCAST)
HEAD = ("model", "nodes", "picked", *(f"{name}, TPOT ms" for name in CANDIDATES), "pick / fastest")


@dataclass(slots=True)
class Case:
    """One model on so many nodes: what was picked, and milliseconds a token of each candidate."""

    model: str
    nodes: int
    picked: list[CollectiveOption] = field(default_factory=list)
    tpot_ms: dict[Collective, list[float]] = field(
        default_factory=lambda: {name: [] for name in CANDIDATES}
    )

    def cells(self) -> list[str]:
        """A row of the table.

        >>> case = Case("tiny", 8, [CollectiveOption.parse("mesh")] * 2)
        >>> case.tpot_ms = dict(zip(CANDIDATES, ([2.0], [1.9], [1.6]), strict=True))
        >>> case.cells()[2], case.cells()[-1]
        ('2 x mesh', 'mesh 1.25')
        """
        typical = {name: median(times) for name, times in self.tpot_ms.items()}
        fastest = min(typical.values())
        decoding = dict.fromkeys(option.steps[0][1] for option in self.picked)
        costs = [
            f"{name} {typical[name] / fastest:.2f}" if name in typical else f"{name} ?"
            for name in decoding
        ]
        counted = Counter(map(str, self.picked)).most_common()
        return [
            self.model,
            str(self.nodes),
            ", ".join(f"{times} x {name}" for name, times in counted),
            *(spread(times) for times in self.tpot_ms.values()),
            ", ".join(costs),
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a row a case."""
    parser = _parser()
    options = parser.parse_args(argv)
    with usage_errors(parser):
        specs = parse_models(options.models)
        models = [(spec.name, open_model(spec, lambda done, total: None)) for spec in specs]
    cases = []
    for name, model in models:
        for nodes in options.nodes:
            cases.append(measure(Case(name, nodes), model.model_file, options.starts))
            print(markdown_table(HEAD, [cases[-1].cells()]), flush=True)
    print(markdown_table(HEAD, (case.cells() for case in cases)), load_line(), sep="\n")
    return 0


def measure(case: Case, model: Path, starts: int) -> Case:
    """So many starts with `auto`, each beside one of every candidate."""
    with ExitStack() as stack:
        workers = [start_worker(stack) for _ in range(case.nodes - 1)]
        for _ in range(starts):
            events = request_events(model, workers, 1, "--collective", "auto")
            (told,) = (event for event in events if event["event"] == "collective")
            picks = [Pick(tokens, Collective(name)) for tokens, name in told["picks"]]
            case.picked.append(CollectiveOption.of(picks))
            for name, times_ms in case.tpot_ms.items():
                events = request_events(model, workers, 1, "--collective", str(name))
                times_ms.append(steady_ms(events))
    return case


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wire.auto",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default="tiny,synthetic:llama-160m", help="as suites take them")
    parser.add_argument("--nodes", type=int, nargs="+", default=[4, 8], metavar="N")
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="(default: 5)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
