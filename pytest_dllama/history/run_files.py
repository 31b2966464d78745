"""Run files: written whole and renamed into place, checked on writing and on reading.

`run.json` of a report folder is its newest run; an older one moves to `history/` untouched, so no
run is ever rewritten by another.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pytest_dllama.errors import ToldError
from pytest_dllama.files.user_files import RECORD_BYTES, read_text
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.record.run import SCHEMA_VERSION, RunRecord

RUN_FILE = "run.json"
VERDICT_FILE = "verdict.json"  # of a comparison, beside the run of its new side
HISTORY_FOLDER = "history"
MAX_DIGITS = 20  # of a whole number with 64 bits, its sign counted


class RunFileError(ToldError, ValueError):
    """A run file that cannot be used; the message names the file and the field."""


def write_run(run: RunRecord, path: Path) -> Path:
    """Write a run file atomically; readers see the old file or the whole new one."""
    return write_whole(path, run_text(run))


def run_text(run: RunRecord) -> str:
    """The content of a run file."""
    try:
        text = run.model_dump_json(indent=1)
    except ValueError:  # names that are no UTF-8, or that an ASCII locale hides
        dumped = json.dumps(run.model_dump(mode="python"), ensure_ascii=False)
        text = dumped.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        text = RunRecord.model_validate_json(text).model_dump_json(indent=1)
    RunRecord.model_validate_json(text)  # what cannot be read back must not be written
    return text + "\n"


def read_run(path: Path) -> RunRecord:
    """Read and check a run file.

    Raises:
        RunFileError: unreadable, no JSON, a newer schema, or a field that does not fit.
    """
    data = _parsed(path)
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


def _parsed(path: Path) -> Any:
    if path.exists() and not path.is_file():
        raise RunFileError(f"{path}: not a regular file; give a run.json")
    try:
        text = read_text(path, RECORD_BYTES)
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read ({error.strerror})") from None
    except _NumberError as error:
        raise RunFileError(f"{path}: {error}; no run file has such a number") from None
    except ValueError as error:
        raise RunFileError(f"{path}: not a JSON file ({error}); was it cut short?") from None
    except RecursionError:
        raise RunFileError(f"{path}: nested deeper than any run file is") from None


class _NumberError(ValueError):
    """A number that no field can hold; the message shows it."""


def _whole(text: str) -> int:
    """A whole number of at most 64 bits: every count and size fits."""
    if len(text) > MAX_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise _NumberError(f"the number {_shortened(text)} has more than 64 bits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _NumberError(f"the number {_shortened(text)} is not finite")
    return value


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DIGITS else f"{text[:8]}... of {len(text)} digits"


def archive_previous(folder: Path) -> Path | None:
    """Move the folder's `run.json`, if any, to `history/`; its new place."""
    current = folder / RUN_FILE
    if not current.exists():
        return None
    target = _free_name(folder / HISTORY_FOLDER, _stamp(current))
    target.parent.mkdir(parents=True, exist_ok=True)
    current.rename(target)
    verdict = folder / VERDICT_FILE
    if verdict.exists():  # of that run: beside the next one it would lie
        verdict.rename(target.with_suffix(".verdict"))
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
