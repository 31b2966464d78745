"""`pytest-dllama duet`: did a change make it slower? A against B, with a verdict."""

from __future__ import annotations

import argparse
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.config.baseline import comparison_of, parse_looks
from pytest_dllama.config.settings import SETTINGS, LabConfig
from pytest_dllama.config.values import ConfigError, parse_models
from pytest_dllama.history.priors import NoisePriors, default_folder
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.duet import Duet, Rules
from pytest_dllama.lab.pairs.checkout import clear_builds, list_builds
from pytest_dllama.lab.pairs.making import make_sides
from pytest_dllama.lab.pairs.verdict_file import Compared, verdict_file, write_verdict
from pytest_dllama.lab.progress import LiveLine, PlainLines
from pytest_dllama.models.under_test import check_model, open_model
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.pages.verdict import verdict_lines
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.looks import DECLARED, Plan
from pytest_dllama.verdict.exit_codes import BISECT_SKIP, bisect_code, exit_code

# The options that a comparison shares with the suites.
_SHARED = (
    *("nodes", "models", "steps", "prompt", "nthreads", "buffer-float-type", "sync-mode"),
    *("collective", "temperature", "engine", "dllama-bin", "dllama-args", "request-timeout"),
    "inject",
)
_DEFAULTS = {"nodes": "2,4"}


def add_duet(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `duet` and `builds`."""
    duet = commands.add_parser(
        "duet",
        help="compare two versions of an engine on this machine, and judge",
        description="Run base and new in adjacent pairs of fresh sessions and judge TTFT, TPOT and "
        "RCT of every cell. Exit codes: 0 nothing is worse, 1 REGRESSED, 2 usage, 3 INVALID or "
        "ERROR; with --bisect 0, 1 and 125, as `git bisect run` wants them.",
        epilog="examples: pytest-dllama duet --baseline git:main --nodes 2,4; "
        "git bisect run pytest-dllama duet --bisect --baseline git:v0.1.0 --nodes 4",
    )
    duet.add_argument(
        "--baseline",
        metavar="SPEC",
        required=True,
        help="what to compare with: self (A/A), git:REV, git:PATH@REV, dllama:PATH, "
        "option:NAME=VALUE[,NAME=VALUE]",
    )
    for setting in (s for s in SETTINGS if s.name in _SHARED):
        default = _DEFAULTS.get(setting.name, setting.default)
        text = f"{setting.help} (default: {default or 'none'})".replace("%", "%%")
        duet.add_argument(
            setting.flag, dest=setting.key, metavar=setting.metavar, default=default, help=text
        )
    looks = ",".join(map(str, DECLARED))
    duet.add_argument(
        "--pairs", metavar="N,N,..", default=looks,
        help=f"after how many pairs to look; only undecided cells go on (default: {looks})",
    )  # fmt: skip
    duet.add_argument("--seed", type=int, help="of the order of sides (default: drawn, printed)")
    duet.add_argument(
        "--inconclusive", choices=("warn", "fail"), default="warn",
        help="what an undecided cell is at the end (default: warn)",
    )  # fmt: skip
    duet.add_argument(
        "--report", type=Path, default=Path("report"), metavar="DIR",
        help="folder of verdict.json and the logs (default: report)",
    )  # fmt: skip
    duet.add_argument(
        "--history", type=Path, metavar="DIR",
        help="where this cluster's noise is kept (default: the user's data folder)",
    )  # fmt: skip
    duet.add_argument("--bisect", action="store_true", help="exit codes for `git bisect run`")
    duet.set_defaults(command=_duet)
    builds = commands.add_parser("builds", help="revisions that were built for comparisons")
    builds.add_argument("what", choices=("list", "clear"))
    builds.set_defaults(command=_builds)


def _builds(arguments: argparse.Namespace) -> int:
    if arguments.what == "clear":
        n = clear_builds()
        print(f"{n} build{'' if n == 1 else 's'} removed")
        return 0
    for what, checkout, size in list_builds():
        print(f"{what}  {size / 1e6:6.0f} MB  {checkout}")
    return 0


def _duet(arguments: argparse.Namespace) -> int:
    try:
        found = _compare(arguments)
    except (ConfigError, DataError) as error:
        print(f"pytest-dllama: {error}", file=sys.stderr)
        return BISECT_SKIP if arguments.bisect else 2
    print("\n".join(verdict_lines(found)))
    print(f"verdict:  {arguments.report / 'verdict.json'}")
    if arguments.bisect:
        return bisect_code(found.status)
    return exit_code(found.status, arguments.inconclusive)


def _compare(arguments: argparse.Namespace) -> VerdictFile:
    start_s, created = time.monotonic(), datetime.now(UTC)
    config = _config(arguments)
    comparison = config.comparison
    assert comparison is not None
    plan = Plan(comparison.looks)
    for spec in config.models:
        check_model(spec, config.node_counts, config)
    progress = LiveLine(sys.stderr) if sys.stderr.isatty() else PlainLines(_tell)
    sides = make_sides(comparison.baseline, config, max(config.node_counts), progress.settle)
    seed = comparison.order_seed
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    cluster = fingerprint(probe_environment(), sides[1].hosts.kind)
    with progress.running():
        models = {s.name: open_model(s, progress.transfer) for s in config.models}
    keys = [CellKey(name, nodes) for name in models for nodes in config.node_counts]
    arguments.report.mkdir(parents=True, exist_ok=True)
    priors = NoisePriors(arguments.history or default_folder(), cluster)
    logs = arguments.report / "logs" / f"duet-{created:%Y%m%dT%H%M%SZ}"
    duet = Duet(sides, models, keys, Rules(plan, priors, seed), logs, progress)
    with progress.running():
        cells = duet.run()
    compared = Compared(
        baseline=comparison.baseline.text,
        base_label=sides[0].label,
        new_label=sides[1].label,
        fingerprint=cluster,
        seed=seed,
        looks=plan.pairs,
        level=plan.level,
        created=created,
        prior_groups=duet.prior_groups,
    )
    found = verdict_file(compared, config, cells, wall_s=time.monotonic() - start_s)
    write_verdict(found, arguments.report)
    return found


def _config(arguments: argparse.Namespace) -> LabConfig:
    given = {s.name: str(getattr(arguments, s.key)) for s in SETTINGS if s.name in _SHARED}
    value = {s.name: s.parse(given[s.name]) for s in SETTINGS if s.name in _SHARED}
    return LabConfig(
        node_counts=value["nodes"],
        models=parse_models(given["models"], Path()),
        steps=value["steps"],
        prompt=value["prompt"],
        repeats=1,
        warmup=1,
        nthreads=value["nthreads"],
        buffer_float_type=value["buffer-float-type"],
        sync_mode=value["sync-mode"],
        collective=value["collective"],
        temperature=value["temperature"],
        seed=12345,
        report_folder=arguments.report,
        thresholds_file=None,
        request_timeout_s=value["request-timeout"],
        explicit=True,
        engine=value["engine"],
        dllama_bin=value["dllama-bin"],
        dllama_args=value["dllama-args"],
        inject=value["inject"],
        comparison=comparison_of(
            {
                "baseline": arguments.baseline,
                "pairs": parse_looks(arguments.pairs),
                "inconclusive": arguments.inconclusive,
                "order-seed": arguments.seed,
                "bisect": arguments.bisect,
            },
            Path(),
        ),
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
