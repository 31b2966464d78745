"""`pytest-dllama duet`: did a change make it slower? A against B, with a verdict."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.backends.base import Backend, EngineOptions
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.backends.revision import RevisionBackend
from pytest_dllama.config.baseline import Baseline, parse_baseline
from pytest_dllama.config.settings import SETTINGS, LabConfig
from pytest_dllama.config.values import ConfigError, at_least, parse_models
from pytest_dllama.history.priors import NoisePriors, default_folder
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.builds import build_revision, clear_builds, list_builds
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.duet import Duet, Side
from pytest_dllama.models.under_test import check_model, open_model
from pytest_dllama.record.verdict import VerdictFile, worst
from pytest_dllama.report.pages.verdict import verdict_lines
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.intervals import holm
from pytest_dllama.stats.looks import DECLARED, Plan

EXIT_WORSE = 1  # REGRESSED; INCONCLUSIVE too with --inconclusive fail
EXIT_NO_VERDICT = 3  # INVALID or ERROR
BISECT_SKIP = 125  # what `git bisect run` takes as "this revision cannot be tested"
# The options that a comparison shares with the suites.
_SHARED = (
    *("nodes", "models", "steps", "prompt", "nthreads", "buffer-float-type", "sync-mode"),
    *("temperature", "engine", "dllama-bin", "dllama-args", "request-timeout", "inject"),
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
    for commit, checkout, size in list_builds():
        print(f"{commit[:12]}  {size / 1e6:6.0f} MB  {checkout}")
    return 0


def _duet(arguments: argparse.Namespace) -> int:
    try:
        found = _compare(arguments)
    except (ConfigError, DataError) as error:
        print(f"pytest-dllama: {error}", file=sys.stderr)
        return BISECT_SKIP if arguments.bisect else 2
    print("\n".join(verdict_lines(found, shutil.get_terminal_size((100, 24)).columns)))
    print(f"verdict:  {arguments.report / 'verdict.json'}")
    return exit_code(found, arguments.inconclusive, bisect=arguments.bisect)


def exit_code(found: VerdictFile, inconclusive: str, *, bisect: bool) -> int:
    """What the process ends with."""
    status = found.status
    if status in ("ERROR", "INVALID"):
        return BISECT_SKIP if bisect else EXIT_NO_VERDICT
    if status == "REGRESSED":
        return EXIT_WORSE
    if status == "INCONCLUSIVE":
        if bisect:
            return BISECT_SKIP
        return EXIT_WORSE if inconclusive == "fail" else 0
    return 0


def _compare(arguments: argparse.Namespace) -> VerdictFile:
    start_s, created = time.monotonic(), datetime.now(UTC)
    baseline = parse_baseline(arguments.baseline)
    plan = Plan(_looks(arguments.pairs))
    config = _config(arguments)
    for spec in config.models:
        check_model(spec, config.node_counts, config)
    sides = _sides(baseline, config, _tell)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    hosts, environment = LocalHosts(), probe_environment()
    cluster = fingerprint(environment, hosts.kind)
    models = {spec.name: open_model(spec, config, _silent) for spec in config.models}
    keys = [CellKey(name, nodes) for name in models for nodes in config.node_counts]
    arguments.report.mkdir(parents=True, exist_ok=True)
    duet = Duet(
        sides, models, keys, plan,
        NoisePriors(arguments.history or default_folder(), cluster), hosts, seed,
        arguments.report / "logs" / f"duet-{created:%Y%m%dT%H%M%SZ}", _tell,
    )  # fmt: skip
    cells = duet.run()
    p_values = {
        f"{cell.model} {cell.nodes} {verdict.metric}": verdict.p_worse
        for cell in cells
        for verdict in cell.metrics
        if verdict.p_worse is not None
    }
    adjusted: Sequence[float] = holm(list(p_values.values())).tolist() if p_values else ()
    found = VerdictFile(
        created_utc=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        wall_s=time.monotonic() - start_s,
        baseline=baseline.text,
        base_label=sides[0].label,
        new_label=sides[1].label,
        fingerprint=cluster,
        seed=seed,
        looks=plan.pairs,
        level=plan.level,
        prompt=config.prompt,
        steps=config.steps,
        inject=config.inject,
        prior_groups=duet.prior_groups,
        status=worst([cell.status for cell in cells]),
        holm_p={key: float(p) for key, p in zip(p_values, adjusted, strict=True)},
        cells=cells,
    )
    _write(found, arguments.report / "verdict.json")
    return found


def _write(found: VerdictFile, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _looks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--pairs {text!r}: write numbers of pairs, as in 3,5,7,10") from None


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
    )


def _sides(baseline: Baseline, config: LabConfig, tell: Callable[[str], None]) -> tuple[Side, Side]:
    label = config.dllama_bin or f"this {config.engine} engine"
    slowed = f", slowed down on purpose ({config.inject})" if config.inject else ""
    new = Side("new", label + slowed, _backend(config), config)
    config = replace(config, inject="")
    own = _backend(config)
    if baseline.kind == "self":
        return Side("base", label, own, config), new
    if baseline.kind == "option":
        return Side("base", baseline.text, own, _with(config, baseline)), new
    if baseline.kind == "dllama":
        if config.engine != "dllama":
            raise ConfigError(
                f"--baseline {baseline.text}: it is compared with --engine dllama --dllama-bin PATH"
            )
        other = replace(config, dllama_bin=baseline.path)
        return Side("base", baseline.path, _backend(other), other), new
    if config.engine != "embedded":
        raise ConfigError(f"--baseline {baseline.text}: revisions are the embedded engine's")
    build = build_revision(baseline.path, baseline.revision, tell)
    name = f"{build.revision} ({build.commit[:10]})"
    return Side("base", name, RevisionBackend(build.environment), config), new


def _with(config: LabConfig, baseline: Baseline) -> LabConfig:
    options = dict(baseline.options)
    return replace(
        config,
        nthreads=at_least("nthreads", 1)(options.get("nthreads", str(config.nthreads))),
        buffer_float_type=options.get("buffer-float-type", config.buffer_float_type),
        sync_mode=options.get("sync-mode", config.sync_mode),
    )


def _backend(config: LabConfig) -> Backend:
    options = EngineOptions(config.dllama_bin, config.dllama_args, config.sync_mode, config.inject)
    return make_backend(config.engine, options)


def _tell(text: str) -> None:
    print(f"dllama: {text}", file=sys.stderr, flush=True)


def _silent(done: int, total: int) -> None:
    """Nothing."""
