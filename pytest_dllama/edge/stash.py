"""What a session keeps at pytest's `config.stash`: every key, declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_dllama.config.settings import LabConfig
    from pytest_dllama.files.report_folder import ReportFolder
    from pytest_dllama.lab.lab import Lab

CONFIG_KEY: pytest.StashKey[LabConfig] = pytest.StashKey()
LAB_KEY: pytest.StashKey[Lab] = pytest.StashKey()  # where any selected test reads a cell
WARNINGS_KEY: pytest.StashKey[list[str]] = pytest.StashKey()  # said at the end of the session
OUTCOME_KEY: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()  # where the results are
COMPARE_KEY: pytest.StashKey[Any] = pytest.StashKey()  # --benchmark-compare, until it can be done
# Our short spellings on the command line that another plugin has, with our long ones.
LENT_KEY: pytest.StashKey[list[tuple[str, str]]] = pytest.StashKey()
FOLDER_KEY: pytest.StashKey[ReportFolder] = pytest.StashKey()  # held while it measures
PRINTED_KEY: pytest.StashKey[bool] = pytest.StashKey()  # the table of cells, at the end
