"""What a session leaves: the run file, the verdict, pages, history; each in spite of the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.exports.samples_csv import write_samples
from pytest_dllama.files.report_folder import STEP_SUMMARY, keep_elsewhere
from pytest_dllama.history.keeping import keep_run
from pytest_dllama.history.run_files import VERDICT_FILE, run_text
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.result_files import ResultFiles
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, a line each, and whether something failed or was broken off."""

    lines: tuple[str, ...]
    has_failed: bool
    was_stopped: bool = False


def write_results(lab: Lab) -> Written:
    """Write everything; a page that fails never costs the run file.

    KeyboardInterrupt (Ctrl-C) breaks off what is written then, and costs nothing else.
    """
    run, verdict = lab.save(), lab.verdict()  # pages are made of the very run that is in the file
    files, config = lab.files, lab.config
    folder = files.run_file.parent
    lines = [_saved(files, "run file:", files.run_file, run_text(run))]
    has_failed = bool(files.unsaved)
    if verdict is not None:
        text = verdict.model_dump_json(indent=1) + "\n"
        lines.append(_saved(files, "verdict: ", folder / VERDICT_FILE, text))
    if config.inject:
        lines.append(f"history:  not kept: slowed down on purpose (--inject {config.inject})")
    was_stopped = False
    for what, write in _writers(run, verdict, config, folder):
        try:
            lines += [f"{what + ':':9} {line}" for line in write()]
        except KeyboardInterrupt as stop:
            was_stopped = True
            lines.append(f"{what + ':':9} not written whole: {str(stop) or 'stopped by SIGINT'}")
        except Exception as error:
            if what == "history" and isinstance(error, OSError) and config.history_folder is None:
                lines.append(_without_history(error))  # nobody named a place: no fault of the run
                continue
            has_failed = True
            lines.append(f"{what + ':':9} failed with {type(error).__name__}: {error}")
    return Written(tuple(lines), has_failed, was_stopped)


_Writer = tuple[str, Callable[[], Sequence[Path | str]]]


def _writers(
    run: RunRecord, verdict: VerdictFile | None, config: LabConfig, folder: Path
) -> Iterator[_Writer]:
    """What else is written, beside the run file and the verdict: a word for it, and how."""
    if formats := config.report_formats:
        yield "report", lambda: _write_pages(run, folder, formats, verdict)
    if os.environ.get(STEP_SUMMARY):
        yield "summary", lambda: _write_step_summary(run, verdict)
    if config.keeps_history and not config.inject:
        yield "history", lambda: [keep_run(run, config)]
    if verdict is not None and config.comparison and config.comparison.is_calibration:
        yield "noise", lambda: _keep_calibration(verdict, config)
    if (file := config.csv_file) is not None:
        yield "samples", lambda: [write_samples(run, file)]


# What needs large libraries (jinja2, matplotlib, scipy: seconds on a Pi) is loaded by need only.


def _write_pages(
    run: RunRecord, folder: Path, formats: Sequence[str], verdict: VerdictFile | None
) -> list[Path]:
    from pytest_dllama.report.pages.reports import write_reports

    return write_reports(run, folder, formats=formats, verdict=verdict)


def _write_step_summary(run: RunRecord, verdict: VerdictFile | None) -> list[Path]:
    from pytest_dllama.report.pages.comment import write_step_summary

    return write_step_summary(run, "en", verdict)


def _keep_calibration(verdict: VerdictFile, config: LabConfig) -> list[str]:
    from pytest_dllama.lab.session.calibration import keep_calibration

    return keep_calibration(verdict, config)


def _without_history(error: OSError) -> str:
    return (
        f"history:  not kept ({error.strerror or error}: {error.filename}); name a folder with "
        "--history DIR, or --history off"
    )


def _saved(files: ResultFiles, what: str, file: Path, text: str) -> str:
    """Where a file of results is; one that could not be written there is kept elsewhere."""
    why = files.unsaved.get(file)
    if why is None:
        return f"{what} {file}"
    kept = keep_elsewhere(file.name, text)
    where = f"its content is in {kept}" if kept else "nor anywhere else: only the table is left"
    return f"{what} {file} cannot be written ({why}); {where}"
