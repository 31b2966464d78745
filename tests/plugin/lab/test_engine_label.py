"""What the engine under test is called in a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.lab import assembly
from pytest_dllama.record.run import Revision


@pytest.mark.parametrize(
    ("is_dirty", "label"),
    [
        (True, "this embedded engine (aaaaaaaaaa, with uncommitted changes)"),
        (False, "this embedded engine (aaaaaaaaaa)"),
        (None, "this embedded engine"),  # of a wheel
    ],
)
def test_the_engine_under_test_is_called_by_its_commit(
    is_dirty: bool | None, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Revision(commit="a" * 40, committed_utc="", subject="", is_dirty=is_dirty)
    told = None if is_dirty is None else found
    monkeypatch.setattr(assembly, "revision_under_test", lambda config: told)
    config = LabConfig.of_texts({}, Path())
    assert assembly.engine_label(config) == label
