"""Verdict files as pages read them: checked, and found beside the run that they judge."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from pytest_dllama.history.run_files import VERDICT_FILE, RunFileError
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VERDICT_SCHEMA_VERSION, VerdictFile

LARGEST_BYTES = 64 * 2**20
AROUND = timedelta(seconds=60)  # between the clocks of the two files


def read_verdict(path: Path) -> VerdictFile:
    """Read and check a verdict file.

    Raises:
        RunFileError: unreadable, no JSON, a newer schema, or a field that does not fit.
    """
    if path.exists() and not path.is_file():
        raise RunFileError(f"{path}: not a regular file; give a {VERDICT_FILE}")
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RunFileError(f"{path}: larger than any verdict file ({LARGEST_BYTES} bytes)")
        found = VerdictFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFileError(f"{path}: field {where or 'top level'}: {first['msg']}") from None
    if found.schema_version > VERDICT_SCHEMA_VERSION:
        raise RunFileError(
            f"{path}: schema version {found.schema_version}, this pytest-dllama reads up to "
            f"{VERDICT_SCHEMA_VERSION}; upgrade it to read this verdict"
        )
    return found


def verdict_beside(run: RunRecord, folder: Path) -> VerdictFile | None:
    """The verdict of the same session in the folder; None for one of another run, or none.

    Raises:
        RunFileError: there is one, and it cannot be used.
    """
    path = folder / VERDICT_FILE
    if not path.is_file():
        return None
    found = read_verdict(path)
    shared = {cell.id for cell in found.cells} & {cell.id for cell in run.cells}
    same_machines = run.fingerprint in (None, found.fingerprint)
    return found if shared and same_machines and _within(run, found) else None


def _within(run: RunRecord, verdict: VerdictFile) -> bool:
    """Whether the verdict was begun while the run went on: other pairs judge another run."""
    try:
        begun, judged = map(datetime.fromisoformat, (run.created_utc, verdict.created_utc))
        took = timedelta(seconds=run.wall_s or 0.0)
        return begun - AROUND <= judged <= begun + took + AROUND
    except (ValueError, TypeError, OverflowError):  # no times, or one without its zone
        return False
