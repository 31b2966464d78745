"""What a session leaves: the run file, the verdict, pages, history; each in spite of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.history.keeping import keep_run
from pytest_dllama.history.run_files import VERDICT_FILE
from pytest_dllama.history.samples_csv import write_samples
from pytest_dllama.lab.lab import Lab
from pytest_dllama.report.pages.comment import write_step_summary
from pytest_dllama.report.pages.reports import write_reports


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, a line each, and whether something failed."""

    lines: tuple[str, ...]
    has_failed: bool


def write_results(lab: Lab) -> Written:
    """Write everything; a page that fails never costs the run file."""
    run, verdict = lab.save(), lab.verdict()  # pages are made of the very run that is in the file
    folder, config = lab.run_file.parent, lab.config
    lines, has_failed = [f"run file: {lab.run_file}"], False
    if verdict is not None:
        lines.append(f"verdict:  {folder / VERDICT_FILE}")
    writers: list[tuple[str, Callable[[], list[Path]]]] = [
        (
            "report",
            lambda: write_reports(run, folder, formats=config.report_formats, verdict=verdict),
        ),
        ("summary", lambda: write_step_summary(run, "en", verdict)),
    ]
    if config.inject:
        lines.append(f"history:  not kept: slowed down on purpose (--inject {config.inject})")
    elif config.keeps_history:
        writers.append(("history", lambda: [keep_run(run, config)]))
    if (file := config.csv_file) is not None:
        writers.append(("samples", lambda: [write_samples(run, file)]))
    for what, write in writers:
        try:
            lines += [f"{what + ':':9} {path}" for path in write()]
        except Exception as error:
            has_failed = True
            lines.append(f"{what + ':':9} failed with {type(error).__name__}: {error}")
    return Written(tuple(lines), has_failed)
