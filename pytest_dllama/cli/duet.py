"""`pytest-dllama duet`: did a change make it slower? A against B, and nothing beside."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.cli.streams import say_error
from pytest_dllama.config.options import SETTINGS, Setting
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.sweeps import SEPARATOR
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.run_files import VERDICT_FILE
from pytest_dllama.lab.builds.checkout import builds_folder, clear_builds, list_builds
from pytest_dllama.lab.checks import cell_keys
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.progress import LiveLine, PlainLines
from pytest_dllama.lab.session.making import make_lab, thresholds_of
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.terminal.verdict import verdict_lines
from pytest_dllama.stats.errors import DataError
from pytest_dllama.verdict.exit_codes import BISECT_SKIP, bisect_code, exit_code
from pytest_dllama.verdict.limits.limit import ThresholdError

USAGE, EXIT_INTERRUPTED = 2, 130
# Of the suites' options those that only tests and pages know; here --seed is the order's.
_OF_TESTS = ("report-format", "csv", "keep-workers", "seed", "order-seed", "history-keep")
_NOT_HERE = (*_OF_TESTS, "calibrate")  # a command of its own
_DEFAULTS = {"nodes": "2,4"}


def add_duet(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `duet`."""
    duet = commands.add_parser(
        "duet",
        help="compare two versions of an engine, and judge",
        description="Run base and new in adjacent pairs of fresh sessions and judge TTFT, TPOT and "
        "RCT of every cell; writes the new side's run file and the verdict. Exit codes: 0 nothing "
        "is worse, 1 REGRESSED or FAIL, 2 usage, 3 INVALID or ERROR; with --bisect 0, 1 and 125, "
        "as `git bisect run` wants them.",
        epilog="examples: pytest-dllama duet --baseline git:main --nodes 2,4; "
        "git bisect run pytest-dllama duet --bisect --baseline git:v0.1.0 --nodes 4",
    )
    for setting in _settings():
        default = _DEFAULTS.get(setting.name, setting.default)
        text = f"{setting.help} (default: {default or 'none'})".replace("%", "%%")
        if setting.metavar:
            duet.add_argument(
                setting.flag,
                dest=setting.key,
                metavar=setting.metavar,
                action="append" if setting.is_repeatable else "store",
                required=setting.name == "baseline",
                help=text,
            )
        else:
            duet.add_argument(
                setting.flag, dest=setting.key, action="store_const", const="yes", help=text
            )
    duet.add_argument(
        "--seed", "--order-seed", dest="order_seed", metavar="N",
        help="of the order of sides and cells (default: drawn, printed)",
    )  # fmt: skip
    duet.set_defaults(command=_duet)


def add_builds(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `builds`."""
    builds = commands.add_parser("builds", help="revisions that were built for comparisons")
    builds.add_argument("what", choices=("list", "clear"))
    builds.set_defaults(command=_builds)


def _settings() -> Iterator[Setting]:
    return (setting for setting in SETTINGS if setting.name not in _NOT_HERE)


def _builds(arguments: argparse.Namespace) -> int:
    if arguments.what == "clear":
        n = clear_builds()
        print(f"{counted(n, 'build')} removed")
        return 0
    builds = list_builds()
    for what, checkout, size in builds:
        print(f"{what}  {size / 1e6:6.0f} MB  {checkout}")
    total = f"{len(builds)} of them, {sum(size for *_, size in builds) / 1e6:.0f} MB"
    print(f"{total} in {builds_folder()}" if builds else f"no builds in {builds_folder()}")
    return 0


def _duet(arguments: argparse.Namespace) -> int:
    is_bisect = bool(arguments.dllama_bisect)
    try:
        config = LabConfig.of_texts(_texts(arguments), Path())
        lab, found = _compare(config)
    except (ConfigError, DataError, ThresholdError) as error:
        print(f"pytest-dllama: {error}", file=sys.stderr)
        return BISECT_SKIP if is_bisect else USAGE
    except KeyboardInterrupt:
        say_error(
            "stopped before the verdict was whole: nothing of it is kept, finished builds are; the "
            "same command begins anew"
        )
        return EXIT_INTERRUPTED
    except Exception:  # to `git bisect run` Python's own exit status 1 means a bad revision
        if not is_bisect:
            raise
        traceback.print_exc()
        return BISECT_SKIP
    print("\n".join(verdict_lines(found, is_bisecting=is_bisect)))
    print("\n".join(_unsaved(lab)) or f"verdict:  {config.report_folder / VERDICT_FILE}")
    assert config.comparison is not None
    if is_bisect:
        return bisect_code(found.status)
    return exit_code(found.status, config.comparison.inconclusive)


def _texts(arguments: argparse.Namespace) -> dict[str, str]:
    """What was given, by the options' names."""
    found = dict(_DEFAULTS)
    for setting in _settings():
        value = getattr(arguments, setting.key)
        if value is not None:
            found[setting.name] = SEPARATOR.join(value) if isinstance(value, list) else value
    if "emulate" in found and arguments.dllama_nodes is None:  # which says how many there are
        del found["nodes"]
    if arguments.order_seed is not None:
        found["order-seed"] = arguments.order_seed
    return found


def _compare(config: LabConfig) -> tuple[Lab, VerdictFile]:
    keys = cell_keys(config)
    progress = LiveLine(sys.stderr) if sys.stderr.isatty() else PlainLines(_tell)
    thresholds, unmatched = thresholds_of(config, keys)
    for sentence in unmatched:
        progress.settle(f"warning: {sentence}")
    lab = make_lab(config, keys, thresholds, progress)
    try:
        for key in keys:
            lab.cell(key)
    finally:
        lab.stop()
    found = lab.verdict()
    if found is None:
        raise ConfigError("no cell of these options can be measured by this engine")
    return lab, found


def _unsaved(lab: Lab) -> list[str]:
    """What could not be written, in lines."""
    return [f"{path} cannot be written ({why})" for path, why in lab.files.unsaved.items()]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
