"""Which history, which cluster of it, and which cells: the options that these commands share."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

from pytest_dllama.config.ini_file import ini_file, ini_value
from pytest_dllama.config.options import HISTORY_AUTO, HISTORY_OFF
from pytest_dllama.config.values import ConfigError, parse_node_counts
from pytest_dllama.history.places import cluster_folder, default_folder
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord

HISTORY_KEY = "dllama_history"


def add_history(parser: argparse.ArgumentParser) -> None:
    """Declare `--history` alone, for commands whose run names its cluster."""
    parser.add_argument(
        "--history", type=history_folder, metavar="DIR", default=usual_folder(),
        help="the history (default: that of the ini key dllama_history here, else the one in the "
        "user's data folder)",
    )  # fmt: skip


def add_where(parser: argparse.ArgumentParser) -> None:
    """Declare `--history` and `--cluster`."""
    add_history(parser)
    parser.add_argument(
        "--cluster", metavar="NAME",
        help="fingerprint of a cluster, or a part of it that no other has (default: this "
        "machine's, else the only one there is)",
    )  # fmt: skip


def add_filters(parser: argparse.ArgumentParser, what: str = "show") -> None:
    """Declare `--model`, `--nodes` and `--metric`; `what` is done with what they let through."""
    parser.add_argument("--model", action="append", metavar="NAME", help=f"{what} this model only")
    parser.add_argument("--nodes", metavar="N,N,..", help=f"{what} these node counts only")
    parser.add_argument(
        "--metric", action="append", metavar="NAME", choices=tuple(METRICS),
        help=f"{what} this metric only, of {', '.join(METRICS)}",
    )  # fmt: skip


def wants(arguments: argparse.Namespace, cell: CellRecord) -> bool:
    """Whether the filters let a cell through.

    Raises:
        HistoryError: node counts that are none.
    """
    if arguments.model and cell.model not in arguments.model:
        return False
    try:
        return not arguments.nodes or cell.nodes in parse_node_counts(arguments.nodes)
    except ConfigError as error:
        raise HistoryError(str(error)) from None


def filtered(run: RunRecord, arguments: argparse.Namespace) -> RunRecord:
    """The run with the cells that the filters let through.

    Raises:
        HistoryError: node counts that are none.
    """
    cells = tuple(cell for cell in run.cells if wants(arguments, cell))
    return run.model_copy(update={"cells": cells})


def check_filters(arguments: argparse.Namespace, runs: Iterable[RunRecord]) -> None:
    """Refuse a model or a node count that no cell of the runs has: an empty answer looks green.

    Raises:
        HistoryError: one of them, with the nearest that there is; or node counts that are none.
    """
    cells = [cell for run in runs for cell in run.cells]
    models = list(dict.fromkeys(cell.model for cell in cells))
    for name in arguments.model or ():
        if name not in models:
            near = difflib.get_close_matches(name, models, 1, 0.5)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {_listed(models)}"
            raise HistoryError(f"--model {name!r}: no cell has it; {meant}")
    if cells and not any(wants(arguments, cell) for cell in cells):
        chosen = [cell for cell in cells if not arguments.model or cell.model in arguments.model]
        counts = sorted({cell.nodes for cell in chosen})
        raise HistoryError(
            f"--nodes {arguments.nodes}: no cell has so many; there are {_listed(map(str, counts))}"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def wanted_metrics(arguments: argparse.Namespace) -> Collection[str] | None:
    """The metrics of the filter; None: all."""
    return arguments.metric or None


def store_of(arguments: argparse.Namespace) -> RunStore:
    """The cluster that is meant.

    Raises:
        HistoryError: none of that name, or several that it could be.
    """
    folder: Path = arguments.history
    names = sorted(p.name for p in folder.glob("*") if p.is_dir()) if folder.is_dir() else []
    if arguments.cluster is not None:
        found = [name for name in names if arguments.cluster in name]
        if arguments.cluster in names:
            found = [arguments.cluster]
        if len(found) == 1:
            return RunStore(folder, found[0])
        what = "is part of several" if found else "is none of the clusters"
        raise HistoryError(
            f"--cluster {arguments.cluster} {what} in {folder}: {', '.join(found or names) or '-'}"
        )
    here = fingerprint(probe_environment(), "local")
    if cluster_folder(folder, here).is_dir() or len(names) == 0:
        return RunStore(folder, here)
    if len(names) == 1:
        return RunStore(folder, names[0])
    raise HistoryError(f"{folder} has several clusters, name one by --cluster: {', '.join(names)}")


def run_of(text: str, arguments: argparse.Namespace) -> StoredRun:
    """A run by the path of its file, or by its name in the history; `last` is the newest.

    Raises:
        HistoryError: no such run.
        RunFileError: its file cannot be read.
    """
    path = Path(text)
    if path.suffix == ".json" or path.is_file():
        return StoredRun(str(path), read_run(path))
    return store_of(arguments).find(text)


def history_folder(text: str) -> Path:
    """Of `--history`, as the suites read it; but these commands do not go without one.

    Raises:
        argparse.ArgumentTypeError: it says that nothing is kept, or nothing at all.
    """
    if text in (HISTORY_OFF, ""):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no history, and this command works with one; name a folder, or leave the "
            "option out for the usual one"
        )
    return default_folder() if text == HISTORY_AUTO else Path(text)


def usual_folder() -> Path:
    """Where the suites of this folder keep their runs, by the ini key, unless an option says it."""
    path = ini_file(Path.cwd())
    text = ini_value(path, HISTORY_KEY) if path else None
    if path is None or not text or text in (HISTORY_AUTO, HISTORY_OFF):
        return default_folder()
    return path.parent / text
