"""Run files: written whole and renamed into place, checked on writing and on reading.

`run.json` of a report folder is its newest run; an older one moves to `history/` untouched, so no
run is ever rewritten by another.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

from pydantic import ValidationError

from pytest_dllama.record.run import SCHEMA_VERSION, RunRecord

RUN_FILE = "run.json"
HISTORY_FOLDER = "history"


class RunFileError(ValueError):
    """A run file that cannot be used; the message names the file and the field."""


def write_run(run: RunRecord, path: Path) -> Path:
    """Write a run file atomically; readers see the old file or the whole new one."""
    text = run.model_dump_json(indent=1) + "\n"
    RunRecord.model_validate_json(text)  # what cannot be read back must not be written
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def read_run(path: Path) -> RunRecord:
    """Read and check a run file.

    Raises:
        RunFileError: unreadable, no JSON, a newer schema, or a field that does not fit.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RunFileError(f"{path}: not a JSON file ({error}); was it cut short?") from None
    found = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise RunFileError(
            f"{path}: schema version {found}, this pytest-dllama reads up to {SCHEMA_VERSION}; "
            "upgrade it to read this run"
        )
    try:
        return RunRecord.model_validate(data, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RunFileError(f"{path}: field {where or 'top level'}: {first['msg']}") from None


def archive_previous(folder: Path) -> Path | None:
    """Move the folder's `run.json`, if any, to `history/`; its new place."""
    current = folder / RUN_FILE
    if not current.exists():
        return None
    target = _free_name(folder / HISTORY_FOLDER, _stamp(current))
    target.parent.mkdir(parents=True, exist_ok=True)
    current.rename(target)
    return target


def _stamp(path: Path) -> str:
    """When a run began, as a file name; an unreadable run keeps a name too."""
    try:
        return re.sub(r"[^0-9TZ]", "", read_run(path).created_utc) or "run"
    except RunFileError:
        return "unreadable"


def _free_name(folder: Path, stem: str) -> Path:
    candidates = (folder / f"{stem}{suffix}.json" for suffix in _suffixes())
    return next(path for path in candidates if not path.exists())


def _suffixes() -> list[str]:
    return ["", *(f"-{n}" for n in range(2, 10_000))]
