"""`pytest-dllama export`: a run file in another tool's format."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from pytest_dllama.exports.base import ExportError
from pytest_dllama.exports.jsonl import jsonl_lines
from pytest_dllama.exports.llmd import llmd_reports
from pytest_dllama.exports.openmetrics import openmetrics_text
from pytest_dllama.exports.samples_csv import write_samples
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.run_files import read_run

FORMATS = ("jsonl", "csv", "openmetrics", "llmd")

_LONGEST_NAME = 200  # bytes; file systems take 255, with an ending


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "export",
        help="write a run file as JSON lines, CSV, OpenMetrics or llm-d benchmark reports",
        description="jsonl: a line a request. csv: the same as a table. openmetrics: text for "
        "Prometheus (an example dashboard for Grafana is in docs/grafana-dashboard.json). llmd: "
        "the benchmark report 0.2 of llm-d, one YAML file a cell. The last two need: pip install "
        "'pytest-dllama[exports]'.",
        epilog="example: pytest-dllama export report/run.json --format openmetrics -o dllama.prom",
    )
    command.add_argument("run", type=Path, metavar="RUN.json", help="the run file")
    command.add_argument("--format", choices=FORMATS, default="jsonl", help="default: %(default)s")
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to (a folder for llmd; default: standard output)",
    )  # fmt: skip
    command.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> int:
    run, output = read_run(arguments.run), arguments.output
    if inject := run.request.inject:
        print(
            f"pytest-dllama: {arguments.run} was slowed down on purpose (--inject {inject}); its "
            "figures are no measurement of this machine",
            file=sys.stderr,
        )
    match arguments.format:
        case "llmd":
            _write_reports(llmd_reports(run), output)
        case "csv":
            if output is None:
                raise ExportError("csv needs a file: add -o FILE.csv")
            write_samples(run, output)
        case "openmetrics":
            _write(openmetrics_text(run), output)
        case _:
            _write("".join(f"{line}\n" for line in jsonl_lines(run)), output)
    return 0


def _write_reports(reports: dict[str, str], folder: Path | None) -> None:
    if folder is None:
        sys.stdout.write("---\n".join(reports.values()))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for cell, text in reports.items():
        path = folder / f"{_file_name(cell)}.yaml"
        _write(text, path)
        print(path)


def _file_name(cell: str) -> str:
    """A cell's id without what a file's name cannot hold; a long one by its beginning and a digest.

    >>> _file_name("org/tiny-2"), _file_name("m" * 300)[-12:]
    ('org_tiny-2', 'mmm-88c6e4c1')
    """
    plain = "".join("_" if char == "/" or not char.isprintable() else char for char in cell)
    if len(plain.encode()) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(cell.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    start = plain.encode()[: _LONGEST_NAME - len(digest) - 1].decode(errors="ignore")
    return f"{start}-{digest}"


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
    else:
        write_whole(path, text)
