"""What is said of a comparison that was stopped before its verdict."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.edge.results import told_if_stopped
from pytest_dllama.edge.stash import CONFIG_KEY, FOLDER_KEY, LAB_KEY

INTERRUPTED = pytest.ExitCode.INTERRUPTED


def session(*, has_begun: bool = True, has_cells: bool = False, **options: str) -> Any:
    """As much of pytest's configuration as is looked at."""
    stash = pytest.Stash()
    stash[CONFIG_KEY] = LabConfig.of_texts(options, Path())
    if has_begun:
        folder: Any = None
        stash[FOLDER_KEY] = folder
        lab: Any = SimpleNamespace(has_cells=has_cells)
        stash[LAB_KEY] = lab
    return SimpleNamespace(stash=stash)


def test_a_stopped_comparison_says_what_is_left() -> None:
    told = told_if_stopped(session(baseline="self"), INTERRUPTED)
    assert told == (
        "stopped before the verdict was whole: nothing of it is kept, finished builds are; the "
        "same command begins anew"
    )
    told = told_if_stopped(session(calibrate="10"), INTERRUPTED)
    assert told is not None
    assert told.startswith("stopped before the calibration was whole: nothing of it is kept")


@pytest.mark.parametrize(
    ("config", "status"),
    [
        (session(baseline="self"), pytest.ExitCode.TESTS_FAILED),
        (session(baseline="self", has_cells=True), INTERRUPTED),  # its table says it
        (session(baseline="self", has_begun=False), INTERRUPTED),  # no test of ours was selected
        (session(), INTERRUPTED),
    ],
)
def test_others_say_nothing_of_it(config: Any, status: pytest.ExitCode) -> None:
    assert told_if_stopped(config, status) is None
