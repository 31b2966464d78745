"""pytest's hooks: options, cells as parameters, the session's beginning and end.

A test run that uses none of our fixtures gets the options and nothing else: no cluster, no
header, no heavy import.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dllama import benchmark_bridge, neighbours, selection
from pytest_dllama.config import flags
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.fixtures import (
    LAB_KEY,
    MARKER,
    WARNINGS_KEY,
    BenchmarkRows,
    NoRows,
    cell,
    limits_of,
    scaling,
    threshold,
    uncaptured,
)
from pytest_dllama.report_folder import ReportFolder, ReportFolderError, check_file

if TYPE_CHECKING:
    from pytest_dllama.config.baseline import Comparison
    from pytest_dllama.hosts.base import Progress
    from pytest_dllama.lab.cells import CellKey
    from pytest_dllama.lab.lab import Lab

# Fixtures, to be found in this module; named in `pytest_plugins` they would draw a warning.
__all__ = ["cell", "scaling", "threshold"]

CONFIG_KEY: pytest.StashKey[LabConfig] = pytest.StashKey()
OUTCOME_KEY: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
COMPARE_KEY: pytest.StashKey[Any] = pytest.StashKey()  # --benchmark-compare, until it can be done
HANDLERS_KEY: pytest.StashKey[dict[signal.Signals, Any]] = pytest.StashKey()
# Our short spellings on the command line that another plugin has, with our long ones.
LENT_KEY: pytest.StashKey[list[tuple[str, str]]] = pytest.StashKey()
FOLDER_KEY: pytest.StashKey[ReportFolder] = pytest.StashKey()  # held while it measures
PRINTED_KEY: pytest.StashKey[bool] = pytest.StashKey()  # the table of cells, at the end
OURS = "dllama"
DEADLY_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    flags.add_options(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None]:
    """Once conftests have declared theirs too, our short spellings mean us where they are free."""
    flags.shield_values(early_config, parser, args)
    yield
    early_config.stash[LENT_KEY] = flags.lent_flags(args, parser)
    args[:] = flags.translate(args, flags.taken_flags(parser))


def pytest_configure(config: pytest.Config) -> None:
    """Read the options; a value that cannot be ends the run here."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(metric=limit, ...): limits of one test beside the thresholds file's, "
        "as in tpot_ms=50 or tokens_per_s={'min': 5}",
    )
    config.addinivalue_line(
        "markers",
        f"{OURS}: set by pytest-dllama on every test that reads measured cells; "
        f"-m 'not {OURS}' leaves them out",
    )
    config.stash[WARNINGS_KEY] = []
    try:
        config.stash[CONFIG_KEY] = LabConfig.from_pytest(config)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    has_benchmark = benchmark_bridge.is_active(config)
    config.pluginmanager.register(BenchmarkRows() if has_benchmark else NoRows())
    if config.stash[CONFIG_KEY].explicit:
        _place_benchmarks(config)


def _place_benchmarks(config: pytest.Config) -> None:
    """Saved benchmarks of one cluster go to one folder; other machines are first looked at."""
    if config.stash[CONFIG_KEY].hosts_file:
        config.stash[COMPARE_KEY] = benchmark_bridge.defer_compare(config)
    else:
        benchmark_bridge.use_storage(config, _local_fingerprint(config))


def _local_fingerprint(config: pytest.Config) -> str:
    from pytest_dllama.hosts.controller import fingerprint, probe_environment

    topology = config.stash[CONFIG_KEY].topology
    return fingerprint(probe_environment(), "local", network=topology.in_words if topology else "")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Rows of other machines are not this one's."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is not None and lab.hosts_known:
        machine_info["hosts"] = lab.hosts_known


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a cell, or one a model."""
    if any(selection.means_ours(metafunc, name) for name in ("cell", "scaling")):
        selection.parametrize(metafunc, _all_keys(metafunc.config))


def _all_keys(config: pytest.Config) -> list[CellKey]:
    from pytest_dllama.lab.checks import cell_keys

    return cell_keys(config.stash[CONFIG_KEY])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that read cells, before `-m` selects."""
    for item in items:
        if selection.cells_of(item):
            item.add_marker(OURS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One process of pytest-xdist found cells among its tests: the run ends with one sentence."""
    sentence = neighbours.refusal_of(node)
    if sentence is not None:
        raise pytest.UsageError(sentence)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """When any selected test reads a cell: check everything, then get ready to measure."""
    config, read = session.config, selection.keys_of(session.items)
    if not read:
        return
    keys = [key for key in _all_keys(config) if key in read]
    ours = [item for item in session.items if selection.cells_of(item)]
    sentence = neighbours.refuse_side_by_side(config) or neighbours.refuse_forked(config, ours)
    if sentence is not None:
        raise pytest.UsageError(sentence)
    for item in ours:
        limits_of(item)
    from pytest_dllama.verdict.limits import ThresholdError

    try:
        if not config.option.collectonly:
            _hold_folder(config)
        config.stash[LAB_KEY] = _make_lab(config, keys)
    except (ConfigError, ThresholdError, ReportFolderError) as error:
        raise pytest.UsageError(str(error)) from None
    if not config.option.collectonly:
        _install_signal_handlers(config)
        _move_benchmarks(config, config.stash[LAB_KEY])


def _hold_folder(config: pytest.Config) -> None:
    """Results have a place, and no other session's are there: found out before it measures."""
    if (csv_file := config.stash[CONFIG_KEY].csv_file) is not None:
        check_file("--dllama-csv", csv_file)
    folder = ReportFolder(config.stash[CONFIG_KEY].report_folder)
    folder.hold()
    config.stash[FOLDER_KEY] = folder
    config.add_cleanup(folder.release)


def _move_benchmarks(config: pytest.Config, lab: Lab) -> None:
    if benchmark_bridge.is_active(config) and benchmark_bridge.storage_is_default(config):
        with uncaptured(config):
            deferred = config.stash.get(COMPARE_KEY, None)
            benchmark_bridge.move_storage(config, lab.fingerprint(), deferred)


def _make_lab(config: pytest.Config, keys: list[CellKey]) -> Lab:
    from pytest_dllama.lab.session.making import make_lab, thresholds_of, warnings_of

    lab_config = config.stash[CONFIG_KEY]
    thresholds, unmatched = thresholds_of(lab_config, _all_keys(config))
    config.stash[WARNINGS_KEY].extend([*unmatched, *warnings_of(lab_config, keys)])
    with uncaptured(config):
        return make_lab(
            lab_config,
            keys,
            thresholds,
            _progress(config),
            only_collects=config.option.collectonly,
        )


def _progress(config: pytest.Config) -> Progress:
    """A live line on a terminal, plain lines elsewhere, nothing with -q."""
    from pytest_dllama.lab.progress import LiveLine, PlainLines, Silent

    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or config.option.verbose < 0:
        return Silent()

    def write_line(text: str) -> None:
        reporter.ensure_newline()
        reporter.write_line(text)

    if reporter.isatty:
        return LiveLine(config.get_terminal_writer()._file, reporter.ensure_newline)
    return PlainLines(write_line)


def _install_signal_handlers(config: pytest.Config) -> None:
    """`kill -TERM` and a closed terminal end the session in order, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        pytest.exit(f"stopped by {signal.Signals(number).name}")

    try:
        handlers = {number: signal.signal(number, leave) for number in DEADLY_SIGNALS}
    except ValueError:
        return  # not the main thread: whoever runs pytest there answers for signals
    config.stash[HANDLERS_KEY] = handlers


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """One line: what is going to be measured; and what may surprise."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is None:
        return []
    return [_what_is_measured(lab), *_surprises(config), *neighbours.same_again(config, items)]


def _what_is_measured(lab: Lab) -> str:
    from pytest_dllama.hosts.course import counted

    lab_config = lab.config
    cells = ", ".join(key.id for key in lab.keys)
    often = lab.how_often
    made, given = lab_config.prompt_tokens, lab_config.output_tokens
    work = f"{_listed(given)} output tokens" if given else counted(lab_config.steps, "step")
    prompts = f" after prompts of {_listed(made)} tokens" if made else ""
    collective = lab_config.collective
    by = "" if collective == "mesh" else f", collective {collective}"
    return (
        f"dllama: {counted(len(lab.keys), 'cell')} ({cells}), {often} of "
        f"{work}{prompts}, {lab_config.buffer_float_type} buffers, "
        f"sync mode {lab_config.sync_mode}{by}"
    )


def _listed(sizes: tuple[int, ...]) -> str:
    """`16, 64 and 512`."""
    *first, last = map(str, sizes)
    return f"{', '.join(first)} and {last}" if first else last


def _surprises(config: pytest.Config) -> list[str]:
    """What another plugin or the command line does to our cells, each in a line."""
    lent = [
        f"dllama: {flag} is another plugin's or conftest's option here; ours is {long_flag}"
        for flag, long_flag in config.stash.get(LENT_KEY, [])
    ]
    return [*lent, *(f"dllama: warning: {text}" for text in config.stash[WARNINGS_KEY])]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Figures of a test's cells as its properties, for JUnit's XML and the like."""
    lab = item.config.stash.get(LAB_KEY, None)
    if lab is None or call.when != "setup" or (keys := selection.cells_of(item)) == []:
        return
    records = [record for key in keys if (record := lab.measured(key))]
    known = {name for name, _ in item.user_properties}
    item.user_properties += [p for p in neighbours.properties(records) if p[0] not in known]


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """The table of cells in pytest-html's page."""
    lab = session.config.stash.get(LAB_KEY, None)
    if lab is not None and lab.has_cells:
        prefix.append(neighbours.html_table(lab.run_record()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the cluster whatever happened, then write the run file and the reports."""
    lab = session.config.stash.get(LAB_KEY, None)
    if lab is not None:
        lab.stop()
        if lab.has_cells:
            session.config.stash[OUTCOME_KEY] = _write_results(session, lab)
    comparison = session.config.stash[CONFIG_KEY].comparison
    if comparison is not None and not session.config.option.collectonly:
        _end_by_verdict(session, comparison, lab)


def _end_by_verdict(session: pytest.Session, comparison: Comparison, lab: Lab | None) -> None:
    """The exit status of a comparison: a regression that no selected test reads fails too."""
    if comparison.is_calibration:
        return  # the noise was asked for, not a verdict
    from pytest_dllama.verdict.exit_codes import bisect_code, exit_code

    found = lab.verdict() if lab else None
    if comparison.is_bisect:
        if session.exitstatus != pytest.ExitCode.INTERRUPTED:
            session.exitstatus = bisect_code(found.status if found else None)
    elif found and session.exitstatus == pytest.ExitCode.OK:
        if exit_code(found.status, comparison.inconclusive) != 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _write_results(session: pytest.Session, lab: Lab) -> tuple[str, ...]:
    from pytest_dllama.lab.session.results import write_results

    written = write_results(lab)
    if written.has_failed:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
    folder = session.config.stash[FOLDER_KEY]
    return (*written.lines, *map(folder.told_of, folder.refused()))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None]:
    """The table of cells, and where the results are: below the others', even if one fails."""
    try:
        return (yield)
    finally:
        _print_results(terminalreporter, config)


def _print_results(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lab = config.stash.get(LAB_KEY, None)
    if lab is None or not lab.has_cells or config.stash.get(PRINTED_KEY, False):
        return
    config.stash[PRINTED_KEY] = True
    from pytest_dllama.report.pages.terminal import summary_lines
    from pytest_dllama.report.pages.verdict import verdict_lines

    found = config.stash[WARNINGS_KEY]
    warnings = [f"warning: {text}" for text in dict.fromkeys(found)]
    terminalreporter.section("distributed LLM inference")
    outcome = config.stash.get(OUTCOME_KEY, ())
    verdict = lab.verdict()
    compared = ["", *verdict_lines(verdict), ""] if verdict else []
    for line in [*summary_lines(lab.run_record()), *warnings, *compared, *outcome]:
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last chance to stop what runs, and the old signal handlers."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is not None:
        lab.stop()
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and not reporter.no_summary:
            _print_results(reporter, config)  # another plugin ended the session before the summary
    for number, handler in config.stash.get(HANDLERS_KEY, {}).items():
        signal.signal(number, handler)
