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

from pytest_dllama.config import flags
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.fixtures import LAB_KEY, MARKER, cell, scaling, threshold, timing_row, uncaptured

if TYPE_CHECKING:
    from pytest_dllama.hosts.base import Hosts, Progress
    from pytest_dllama.lab.cells import CellKey
    from pytest_dllama.lab.lab import Lab

# Fixtures, to be found in this module; named in `pytest_plugins` they would draw a warning.
__all__ = ["cell", "scaling", "threshold", "timing_row"]

CONFIG_KEY: pytest.StashKey[LabConfig] = pytest.StashKey()
OUTCOME_KEY: pytest.StashKey[list[str]] = pytest.StashKey()
COMPARE_KEY: pytest.StashKey[Any] = pytest.StashKey()  # --benchmark-compare, until it can be done
HANDLERS_KEY: pytest.StashKey[dict[signal.Signals, Any]] = pytest.StashKey()
# Our short spellings on the command line that another plugin has, with our long ones.
LENT_KEY: pytest.StashKey[list[tuple[str, str]]] = pytest.StashKey()
FIXTURES_MODULE = "pytest_dllama.fixtures"
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
    try:
        config.stash[CONFIG_KEY] = LabConfig.from_pytest(config)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    if config.stash[CONFIG_KEY].explicit:
        _place_benchmarks(config)


def _place_benchmarks(config: pytest.Config) -> None:
    """Saved benchmarks of one cluster go to one folder; other machines are first looked at."""
    from pytest_dllama import benchmark_bridge
    from pytest_dllama.hosts.controller import fingerprint, probe_environment

    if config.stash[CONFIG_KEY].hosts_file:
        config.stash[COMPARE_KEY] = benchmark_bridge.defer_compare(config)
    else:
        benchmark_bridge.use_storage(config, fingerprint(probe_environment(), "local"))


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
    if _is_ours(metafunc, "cell"):
        keys = _all_keys(metafunc.config)
        metafunc.parametrize(
            "cell", keys, indirect=True, scope="session", ids=[key.id for key in keys]
        )
    elif _is_ours(metafunc, "scaling"):
        keys = _all_keys(metafunc.config)
        models = {key.model: [k for k in keys if k.model == key.model] for key in keys}
        metafunc.parametrize(
            "scaling", list(models.items()), indirect=True, scope="session", ids=list(models)
        )


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test means our fixture: other projects may well have a `cell` of their own."""
    if name not in metafunc.fixturenames:
        return False
    return _comes_from_us(metafunc._arg2fixturedefs.get(name))


def _comes_from_us(definitions: Any) -> bool:
    """Whether the fixture definition that wins is ours."""
    return bool(definitions) and definitions[-1].func.__module__ == FIXTURES_MODULE


def _all_keys(config: pytest.Config) -> list[CellKey]:
    from pytest_dllama.lab.cells import CellKey

    lab_config = config.stash[CONFIG_KEY]
    return [
        CellKey(spec.name, nodes) for spec in lab_config.models for nodes in lab_config.node_counts
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """When any selected test reads a cell: check everything, then get ready to measure."""
    keys = _keys_of(session.items)
    if not keys:
        return
    config = session.config
    from pytest_dllama.verdict.thresholds import ThresholdError

    try:
        config.stash[LAB_KEY] = _make_lab(config, keys)
    except (ConfigError, ThresholdError) as error:
        raise pytest.UsageError(str(error)) from None
    if not config.option.collectonly:
        _install_signal_handlers(config)
        _move_benchmarks(config, config.stash[LAB_KEY])


def _move_benchmarks(config: pytest.Config, lab: Lab) -> None:
    from pytest_dllama import benchmark_bridge

    if benchmark_bridge.is_active(config) and benchmark_bridge.storage_is_default(config):
        with uncaptured(config):
            deferred = config.stash.get(COMPARE_KEY, None)
            benchmark_bridge.move_storage(config, lab.fingerprint(), deferred)


def _keys_of(items: list[pytest.Item]) -> list[CellKey]:
    """The cells that the selected tests read, in the order of the command line."""
    found: dict[CellKey, None] = {}
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if _reads(item, params, "cell"):
            found[params["cell"]] = None
        if _reads(item, params, "scaling"):
            found |= dict.fromkeys(params["scaling"][1])
    if not found:
        return []
    return [key for key in _all_keys(items[0].config) if key in found]


def _reads(item: pytest.Item, params: dict[str, Any], name: str) -> bool:
    info = getattr(item, "_fixtureinfo", None)
    return name in params and info is not None and _comes_from_us(info.name2fixturedefs.get(name))


def _make_lab(config: pytest.Config, keys: list[CellKey]) -> Lab:
    from pytest_dllama.backends.base import ChecksModels, EngineOptions
    from pytest_dllama.backends.registry import make_backend
    from pytest_dllama.lab.lab import Lab
    from pytest_dllama.models.under_test import check_model, config_of
    from pytest_dllama.verdict.thresholds import Thresholds, load_thresholds

    lab_config = config.stash[CONFIG_KEY]
    options = EngineOptions(
        lab_config.dllama_bin,
        lab_config.dllama_args,
        lab_config.sync_mode,
        runs_here=lab_config.hosts_file is None,
    )
    backend = make_backend(lab_config.engine, options)
    for spec in lab_config.models:
        counts = [key.nodes for key in keys if key.model == spec.name]
        if counts:
            check_model(spec, counts, lab_config)
            if isinstance(backend, ChecksModels):
                for nodes in counts:
                    backend.check_model(config_of(spec), nodes)
    file = lab_config.thresholds_file
    thresholds = load_thresholds(file) if file else Thresholds()
    hosts = _hosts(lab_config, keys)
    return Lab(lab_config, keys, thresholds, backend, _progress(config), hosts)


def _hosts(lab_config: LabConfig, keys: list[CellKey]) -> Hosts | None:
    """The machines of `--hosts`, enough of them; none means this machine."""
    if lab_config.hosts_file is None:
        if lab_config.keep_workers:
            raise ConfigError(
                "--keep-workers is for workers of other machines, which --hosts names; workers of "
                "this machine start in a second or two and end with pytest: leave it out"
            )
        return None
    from pytest_dllama.hosts.fleet.fleet import RemoteHosts
    from pytest_dllama.hosts.fleet.provision import Wanted
    from pytest_dllama.hosts.inventory import InventoryError, load_inventory
    from pytest_dllama.hosts.ssh.kept_token import kept_token

    try:
        inventory = load_inventory(lab_config.hosts_file)
        if lab_config.hosts_only:
            inventory = inventory.only(lab_config.hosts_only)
        inventory.first(max(key.nodes for key in keys))
    except InventoryError as error:
        raise ConfigError(str(error)) from None
    wanted = Wanted((), lab_config.buffer_float_type, lab_config.sync_mode, inventory.wheelhouse)
    token = kept_token(inventory.file) if lab_config.keep_workers else None
    return RemoteHosts(inventory, wanted, lab_config.dllama_bin, token)


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


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """One line: what is going to be measured; and what may surprise."""
    lab = config.stash.get(LAB_KEY, None)
    return [] if lab is None else [_what_is_measured(lab), *_surprises(config)]


def _what_is_measured(lab: Lab) -> str:
    lab_config = lab.config
    cells = ", ".join(key.id for key in lab.keys)
    return (
        f"dllama: {len(lab.keys)} cells ({cells}), {lab_config.repeats} repeats of "
        f"{lab_config.steps} steps, {lab_config.buffer_float_type} buffers, "
        f"sync mode {lab_config.sync_mode}"
    )


def _surprises(config: pytest.Config) -> list[str]:
    """What another plugin or the command line does to our cells, each in a line."""
    return [
        f"dllama: {flag} is another plugin's or conftest's option here; ours is {long_flag}"
        for flag, long_flag in config.stash.get(LENT_KEY, [])
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the cluster whatever happened, then write the run file and the reports."""
    lab = session.config.stash.get(LAB_KEY, None)
    if lab is None:
        return
    lab.stop()
    if lab.has_cells:
        session.config.stash[OUTCOME_KEY] = _write_results(session, lab)


def _write_results(session: pytest.Session, lab: Lab) -> list[str]:
    """Paths of what was written; a report that fails never costs the run file."""
    from pytest_dllama.report.pages.markdown import write_reports

    lab.save()
    lines = [f"run file: {lab.run_file}"]
    try:
        lines += [
            f"report:   {path}" for path in write_reports(lab.run_record(), lab.run_file.parent)
        ]
    except Exception as error:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        lines.append(f"report:   failed with {type(error).__name__}: {error}")
    return lines


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table of cells, and where the results are."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is None or not lab.has_cells:
        return
    from pytest_dllama.report.pages.terminal import summary_lines

    terminalreporter.section("distributed LLM inference")
    for line in [*summary_lines(lab.run_record()), *config.stash.get(OUTCOME_KEY, [])]:
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last chance to stop what runs, and the old signal handlers."""
    lab = config.stash.get(LAB_KEY, None)
    if lab is not None:
        lab.stop()
    for number, handler in config.stash.get(HANDLERS_KEY, {}).items():
        signal.signal(number, handler)
