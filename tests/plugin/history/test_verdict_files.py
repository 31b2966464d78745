"""Verdict files as pages read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import RunFileError
from pytest_dllama.history.verdict_files import read_verdict, verdict_beside
from pytest_dllama.record.verdict import verdict_schema
from pytest_dllama.report.terminal.verdict import verdict_lines
from tests.data import ROOT, VERDICTS
from tests.plugin.report.report_runs import cell, run, verdict

RUN = run([cell("a", 2, [1])]).model_copy(update={"fingerprint": "f", "wall_s": 100.0})


def _write(folder: Path, **changes: object) -> Path:
    path = folder / "verdict.json"
    judged = verdict(RUN).model_copy(update=changes)
    path.write_text(judged.model_dump_json(), encoding="utf-8")
    return path


def test_the_sessions_own_verdict_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert verdict_beside(RUN, tmp_path) == read_verdict(path) == verdict(RUN)


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "another cluster"},
        {"created_utc": "2025-01-02T03:08:00+00:00"},  # after the run was over
        {"created_utc": "2025-01-01T03:04:05+00:00"},
        {"created_utc": "yesterday"},
        {"created_utc": "2025-01-02T03:04:05"},  # no zone
        {"cells": ()},
    ],
)
def test_the_verdict_of_another_run_is_not_taken(tmp_path: Path, changes: dict[str, str]) -> None:
    _write(tmp_path, **changes)
    assert verdict_beside(RUN, tmp_path) is None


def test_none_is_none(tmp_path: Path) -> None:
    assert verdict_beside(RUN, tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "field top level: Invalid JSON"),
        ("[" * 100_000, "field top level: Invalid JSON"),
        ("{}", "field created_utc: Field required"),
    ],
)
def test_a_broken_one_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunFileError, match=message) as caught:
        read_verdict(path)
    assert str(path) in str(caught.value)


def test_a_newer_schema_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"schema version 99, .* upgrade it"):
        read_verdict(_write(tmp_path, schema_version=99))
    with pytest.raises(RunFileError, match="not a regular file"):
        read_verdict(tmp_path)
    with pytest.raises(RunFileError, match="cannot be read"):
        read_verdict(tmp_path / "gone.json")


@pytest.mark.parametrize("path", sorted(VERDICTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_version_is_read_for_ever(path: Path) -> None:
    found = read_verdict(path)
    assert f"schema{found.schema_version}" == path.stem
    assert found.cells[0].metrics[0].is_paired
    assert verdict_lines(found)


def test_the_published_schema_is_the_records() -> None:
    """Write it anew: json.dumps(verdict_schema(), indent=1)."""
    published = json.loads((ROOT / "docs/verdict.schema.json").read_text(encoding="utf-8"))
    assert published == verdict_schema()
