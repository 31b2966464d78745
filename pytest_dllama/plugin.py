"""pytest's hooks: options, cells as parameters, the session's beginning and end.

A test run that uses none of our fixtures gets the options and nothing else: no cluster, no
header, no heavy import.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_dllama.config import flags
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.edge import benchmark_bridge, other_plugins, selection
from pytest_dllama.edge.announcement import surprises, what_is_measured
from pytest_dllama.edge.benchmark_storage import move_benchmarks, place_benchmarks
from pytest_dllama.edge.bisecting import status_for_git
from pytest_dllama.edge.preparing import all_keys, hold_folder, make_lab_of
from pytest_dllama.edge.results import (
    end_by_verdict,
    print_results,
    told_if_stopped,
    write_results_of,
)
from pytest_dllama.edge.signals import install_signal_handlers, restore_signal_handlers
from pytest_dllama.edge.stash import CONFIG_KEY, LAB_KEY, LENT_KEY, OUTCOME_KEY, WARNINGS_KEY
from pytest_dllama.files.report_folder import ReportFolderError
from pytest_dllama.fixtures import (
    MARKER,
    BenchmarkRows,
    NoRows,
    cell,
    limits_of,
    scaling,
    threshold,
)

# Fixtures, to be found in this module; named in `pytest_plugins` they would draw a warning.
__all__ = ["cell", "scaling", "threshold"]

OURS = "dllama"


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


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Under `--bisect` the exit status is for git, whatever ends the session."""
    return (yield from status_for_git(config))


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
        place_benchmarks(config)


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
        selection.parametrize(metafunc, all_keys(metafunc.config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that read cells, before `-m` selects."""
    for item in items:
        if selection.cells_of(item):
            item.add_marker(OURS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One process of pytest-xdist found cells among its tests: the run ends with one sentence."""
    sentence = other_plugins.refusal_of(node)
    if sentence is not None:
        raise pytest.UsageError(sentence)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """When any selected test reads a cell: check everything, then get ready to measure."""
    config, read = session.config, selection.keys_of(session.items)
    if not read:
        return
    keys = [key for key in all_keys(config) if key in read]
    ours = [item for item in session.items if selection.cells_of(item)]
    sentence = other_plugins.refuse_side_by_side(config) or other_plugins.refuse_forked(
        config, ours
    )
    if sentence is not None:
        raise pytest.UsageError(sentence)
    for item in ours:
        limits_of(item)
    from pytest_dllama.verdict.limits.limit import ThresholdError

    try:
        if not config.option.collectonly:
            hold_folder(config)
            install_signal_handlers(config)
        config.stash[LAB_KEY] = make_lab_of(config, keys)
    except (ConfigError, ThresholdError, ReportFolderError) as error:
        raise pytest.UsageError(str(error)) from None
    if not config.option.collectonly:
        move_benchmarks(config, config.stash[LAB_KEY])


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """One line: what is going to be measured; and what may surprise."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is None:
        return []
    return [what_is_measured(lab), *surprises(config), *other_plugins.same_again(config, items)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Figures of a test's cells as its properties, for JUnit's XML and the like."""
    lab = item.config.stash.get(LAB_KEY, None)
    if lab is None or call.when != "setup" or (keys := selection.cells_of(item)) == []:
        return
    records = [record for key in keys if (record := lab.measured(key))]
    known = {name for name, _ in item.user_properties}
    item.user_properties += [p for p in other_plugins.properties(records) if p[0] not in known]


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """The table of cells in pytest-html's page."""
    lab = session.config.stash.get(LAB_KEY, None)
    if lab is not None and lab.has_cells:
        prefix.append(other_plugins.html_table(lab.run_record()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the cluster whatever happened, then write the run file and the reports."""
    lab = session.config.stash.get(LAB_KEY, None)
    if lab is not None:
        lab.stop()
        if lab.has_cells:
            session.config.stash[OUTCOME_KEY] = write_results_of(session, lab)
    comparison = session.config.stash[CONFIG_KEY].comparison
    if comparison is not None and not session.config.option.collectonly:
        end_by_verdict(session, comparison, lab)


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> Generator[None]:
    """The table of cells, and where the results are: below the others', even if one fails."""
    try:
        return (yield)
    finally:
        print_results(terminalreporter, config)
        if (told := told_if_stopped(config, exitstatus)) is not None:
            terminalreporter.write_line(told)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last chance to stop what runs, and the old signal handlers."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is not None:
        lab.stop()
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and not reporter.no_summary:
            print_results(reporter, config)  # another plugin ended the session before the summary
    restore_signal_handlers(config)
